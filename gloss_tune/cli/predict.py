"""``gloss-tune predict``: classify the texts of a file with a model that ``retrain`` wrote."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from gloss_tune.cli.options import Device

if TYPE_CHECKING:
    from gloss_tune.finetune.classifier import Classifier

# Texts that are classified at once. The last bits of a probability depend on which texts go through the encoder
# together: up to so many, no order of the same texts changes any.
_WINDOW = 32_768


class InputFormat(str, Enum):
    """What is read."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    text = "text"


class PredictionFormat(str, Enum):
    """What is written."""

    csv = "csv"
    jsonl = "jsonl"


def predict(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Texts: .csv or .tsv with a header, .jsonl, or else one text a line; - reads from stdin.",
        ),
    ],
    model: Annotated[
        Path, typer.Option("--model", metavar="DIR", help="Folder that 'gloss-tune retrain' wrote.")
    ],
    text_column: Annotated[
        str,
        typer.Option("--text-column", metavar="NAME", help="Column, or key in JSON lines, of the texts."),
    ] = "text",
    input_format: Annotated[
        InputFormat | None,
        typer.Option("--input-format", help="How FILE is to be read, whatever its name ends in."),
    ] = None,
    format: Annotated[
        PredictionFormat, typer.Option("--format", help="How to write labels and probabilities.")
    ] = PredictionFormat.csv,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            envvar="GLOSS_TUNE_THREADS",
            metavar="N",
            help="CPU threads; by default as many as other processes leave.",
        ),
    ] = None,
) -> None:
    """Write the most probable class of each text, and the probability of every class, in the order of the texts.

    Example: gloss-tune predict --model model --output labels.csv texts.csv
    """
    from gloss_tune.cli.writing import whole_text
    from gloss_tune.cores import CoreShare
    from gloss_tune.data.texts import read_texts, texts_format
    from gloss_tune.finetune.device import pick_device
    from gloss_tune.finetune.model_folder import read_description

    with _leaving_on_signals(), contextlib.ExitStack() as stack:
        read_description(model)
        how = input_format.value if input_format else texts_format(Path(file)) if file != "-" else "text"
        source = "stdin" if file == "-" else file
        # a file is read twice, so that one that is wrong in its last line writes nothing
        expected = None
        if Path(file).is_file():
            with _open(file) as stream:
                expected = sum(1 for _ in read_texts(stream, source, how, text_column))
        texts = read_texts(stack.enter_context(_open(file)), source, how, text_column)
        chosen = pick_device(device)
        CoreShare(chosen, threads).share_cores()
        from gloss_tune.finetune.classifier import load_classifier

        classifier = load_classifier(model, chosen)
        target: TextIO = sys.stdout if output is None else stack.enter_context(whole_text(output))
        _write(classifier, texts, target, format, expected)


def _write(
    classifier: Classifier,
    texts: Iterator[str],
    target: TextIO,
    format: PredictionFormat,
    expected: int | None,
) -> None:
    from gloss_tune.logging import logger

    writer = csv.writer(target, lineterminator="\n")
    if format is PredictionFormat.csv:
        writer.writerow(["label", *(f"probability_{name}" for name in classifier.classes)])
    done = 0
    while window := list(itertools.islice(texts, _WINDOW)):
        for label, row in zip(*classifier.classify(window), strict=True):
            rounded = [float(f"{probability:.7g}") for probability in row]
            if format is PredictionFormat.csv:
                writer.writerow([label, *rounded])
            else:
                target.write(_line(label, zip(classifier.classes, rounded, strict=True)))
        target.flush()  # whoever reads along sees it now
        done += len(window)
        if done != expected:
            logger.info("%d%s documents", done, "" if expected is None else f" of {expected}")
    target.flush()


def _line(label: str, probabilities: Iterable[tuple[str, float]]) -> str:
    return json.dumps({"label": label, "probabilities": dict(probabilities)}, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    from gloss_tune.errors import InputError

    if file == "-":
        if sys.stdin is None:
            raise InputError("stdin is closed; name a file instead of -")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 (errors of what is done with it are not ours)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); check the path and its rights") from None
    with stream:
        yield stream


@contextlib.contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command at once, even while it waits for stdin, and remove a half-written file."""

    def leave(signum: int, frame: Any) -> None:
        raise SystemExit(128 + signum)

    before = {signum: signal.signal(signum, leave) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
