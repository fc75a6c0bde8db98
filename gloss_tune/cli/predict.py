"""``gloss-tune predict``: classify the texts of a file with a model that ``retrain`` wrote."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from gloss_tune.cli.options import Device
from gloss_tune.cli.predictions import PredictionFormat, PredictionWriter
from gloss_tune.wording import count, listed

if TYPE_CHECKING:
    from gloss_tune.data.texts import TextRecord
    from gloss_tune.finetune.classifier import Classifier

# Texts that are classified at once. The last bits of a probability depend on which texts go through the encoder
# together: up to so many, no order of the same texts changes any.
_WINDOW = 32_768


class InputFormat(str, Enum):
    """What is read."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    json = "json"
    parquet = "parquet"
    text = "text"


def predict(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Texts: CSV or TSV with a header, JSON, JSON lines, Parquet (all but Parquet also packed), or else "
            "one text a line; - reads from stdin.",
        ),
    ],
    model: Annotated[
        Path, typer.Option("--model", metavar="DIR", help="Folder that 'gloss-tune retrain' wrote.")
    ],
    text_column: Annotated[
        str,
        typer.Option(
            "--text-column",
            metavar="NAME",
            help="Column, or key in JSON, of the texts; title,body joins those of two.",
        ),
    ] = "text",
    input_format: Annotated[
        InputFormat | None,
        typer.Option("--input-format", help="How FILE is to be read, whatever its name ends in."),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            "--separator", metavar="CHARACTER", help="Between the fields of a CSV, such as ';' or tab."
        ),
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option("--no-header", help="The first line of CSV or TSV is a record and names no columns."),
    ] = False,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding", metavar="NAME", help="Encoding of FILE, such as cp1252; by default UTF-8."
        ),
    ] = None,
    format: Annotated[
        PredictionFormat, typer.Option("--format", help="How to write labels and probabilities.")
    ] = PredictionFormat.csv,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write all columns of FILE before the label and its probabilities.")
    ] = False,
    keep_columns: Annotated[
        str | None,
        typer.Option(
            "--keep-columns", metavar="NAME,…", help="Write these columns of FILE only, such as an id."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
    device: Device = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that came with the model's encoder.")
    ] = False,
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

    There is always one row for each record; of one without a text, label and probabilities are empty.

    Example: gloss-tune predict --model model --keep --output labels.csv texts.csv
    """
    from gloss_tune.cli.writing import whole_text
    from gloss_tune.cores import CoreShare
    from gloss_tune.data.records import Layout
    from gloss_tune.data.texts import read_texts, survey_texts
    from gloss_tune.finetune.device import pick_device
    from gloss_tune.finetune.model_folder import read_description

    layout = Layout(input_format.value if input_format else None, encoding, separator, header=not no_header)
    kept = _kept(keep, keep_columns)
    with _leaving_on_signals(), contextlib.ExitStack() as stack:
        read_description(model)
        place, source = _place(file)
        # a file is read twice, so that one that is wrong in its last line writes nothing
        expected = None
        if isinstance(place, Path) and place.is_file():
            expected, columns = survey_texts(place, source, text_column, layout, kept or ())
            kept = columns if kept == () else kept
        records = read_texts(place, source, text_column, layout, kept or ())
        chosen = pick_device(device)
        CoreShare(chosen, threads).share_cores()
        from gloss_tune.finetune.classifier import load_classifier

        classifier = load_classifier(model, chosen, trust_remote_code=trust_remote_code)
        target: TextIO = sys.stdout if output is None else stack.enter_context(whole_text(output))
        _write(classifier, records, target, format, kept, expected)


def _write(
    classifier: Classifier,
    records: Iterator[TextRecord],
    target: TextIO,
    format: PredictionFormat,
    kept: Sequence[str] | None,
    expected: int | None,
) -> None:
    from gloss_tune.logging import logger

    done = 0
    empty: list[int] = []
    unit = "record"
    window = list(itertools.islice(records, _WINDOW))
    if kept == ():  # all columns of a stream, as far as they are known by now
        kept = list(dict.fromkeys(name for record in window for name in record.values))
    writer = PredictionWriter(target, format, classifier.classes, kept or ())
    while window:
        labels, rows = classifier.classify([record.text for record in window if record.text is not None])
        found = zip(labels, rows, strict=True)
        for record in window:
            if record.text is None:
                empty.append(record.place)
                writer.write(record.values, None, ())
            else:
                label, row = next(found)
                writer.write(record.values, label, [float(f"{probability:.7g}") for probability in row])
        target.flush()  # whoever reads along sees it now
        unit = window[0].unit
        done += len(window)
        if done != expected:
            logger.info("%d%s documents", done, "" if expected is None else f" of {expected}")
        window = list(itertools.islice(records, _WINDOW))
    target.flush()
    if empty:
        logger.warning(
            "%s of %s %s no text, so %s label is empty: %s.",
            f"{len(empty):,}",
            count(done, "record"),
            "has" if len(empty) == 1 else "have",
            "its" if len(empty) == 1 else "their",
            listed(empty, unit),
        )


def _kept(every: bool, named: str | None) -> tuple[str, ...] | None:
    """The columns to keep; none named means all, None means none."""
    from gloss_tune.errors import InputError

    if named is None:
        return () if every else None
    columns = tuple(part.strip() for part in named.split(",") if part.strip())
    if every or not columns:
        raise InputError(
            "--keep keeps all columns, --keep-columns those that it names (id,title); give one of the two"
        )
    return columns


def _place(file: str) -> tuple[Path | BinaryIO, str]:
    from gloss_tune.errors import InputError

    if file != "-":
        return Path(file), file
    if sys.stdin is None:
        raise InputError("stdin is closed; name a file instead of -")
    return sys.stdin.buffer, "stdin"


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
