"""``python -m tests.benchmarks.gpu``: all that a GPU is needed to measure, in one call of less than eight minutes.

It measures, one section after the other: whether the card computes what a CPU computes (each loss and mode in
float32, packed against documents alone in bf16, a step that runs out of memory); the card's bf16 matrix rate; which
part of it our loop reaches with a BERT-base-sized encoder, on texts as long as MR's and 20NG's; what attention costs
through torch's jagged tensors and through its kernels by themselves; where a step's time goes, in which pass and
kernel; the authors' own loop on the same card (``--authors DIR``, a copy of their repository); trials an hour when
several processes share the card; and what compilation would save. Each section has a process of its own and a limit
of time: a card that dies, or hangs, costs one section. A section that fails, or for which the time does not suffice,
leaves a note, and the others go on. With ``--output DIR``, the table is written anew after each section.

**A machine without network** needs the working tree and a Python with torch, transformers, sentence-transformers,
NumPy, psutil, rich and scikit-learn, and pandas for the authors' loop; no section needs Optuna. A missing package
travels as a wheel::

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 -d wheels NAME
    pip install --no-index --no-deps --target site wheels/*.whl && export PYTHONPATH=site    # there

Encoders are made there, with random weights. The real MiniLM, 90 MB, travels in half precision, 45 MB, so that
everything together stays below 64 MiB; ``--encoder minilm-half`` names it, and it computes in full precision as ever::

    python -c "from pathlib import Path; from gloss_tune.encoder import Encoder, resolve_encoder
    encoder = Encoder.load(resolve_encoder('all-MiniLM-L6-v2'))
    encoder.model.half()
    encoder.save(Path('minilm-half'))"

On a CPU only the miniature runs (``--quick``): it shows that the script works, its numbers say nothing.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import psutil
import torch

from tests.benchmarks.gpu_bench import Bench, NotRunError, Section, Settings
from tests.benchmarks.gpu_child import in_a_child
from tests.benchmarks.gpu_sections import SECTIONS
from tests.benchmarks.table import Row, format_table, write_results


def measure(settings: Settings, spent: float = 0.0) -> Bench:
    """All sections; rows and notes are printed, and written where wanted, after each one.

    Args:
        settings: what the command line says.
        spent: seconds of the budget that are gone already.

    Raises:
        ValueError: the device is missing, or a CPU is to do more than the miniature.
    """
    on_cuda = settings.device.startswith("cuda")
    if on_cuda and not torch.cuda.is_available():
        raise ValueError(
            f"a CUDA device is needed, got {settings.device} and none here; use --device cpu --quick"
        )
    if not on_cuda and not settings.quick:
        raise ValueError(f"only the miniature runs on {settings.device}; add --quick")
    deadline = time.monotonic() + settings.budget_seconds - spent
    with tempfile.TemporaryDirectory() as folder:
        previous = os.environ.get("GLOSS_TUNE_CACHE")
        os.environ["GLOSS_TUNE_CACHE"] = folder
        try:
            bench = Bench(settings, Path(folder), deadline)
            for section in SECTIONS:
                # a card that dies takes its process along; the miniature, which has none, spares the imports
                _run(section, bench, section.measure if settings.quick else partial(in_a_child, section))
        finally:
            del os.environ["GLOSS_TUNE_CACHE"]
            if previous is not None:
                os.environ["GLOSS_TUNE_CACHE"] = previous
    return bench


def _run(section: Section, bench: Bench, measure: Callable[[Bench], Iterator[Row]] | None = None) -> None:
    before = len(bench.notes)
    started, begun = time.monotonic(), len(bench.rows)
    if bench.left < (0 if bench.settings.quick else section.seconds):
        bench.notes.append(f"{section.name}: not run, because {bench.left:.0f} s of the time are left")
    else:
        try:
            for row in (measure or section.measure)(bench):
                bench.rows.append(row)
        except NotRunError as reason:
            bench.notes.append(f"{section.name}: not run, because {reason}")
        except TimeoutError:
            bench.notes.append(f"{section.name}: broken off, because the time was over")
        # one section's fault must not cost the figures of the others
        except Exception as error:
            bench.failed = True
            traceback.print_exc()
            message = (str(error) or "no message").splitlines()[0]
            bench.notes.append(f"{section.name}: failed, {type(error).__name__}: {message}")
    print(f"\n{section.name}: {time.monotonic() - started:.0f} s")
    if bench.rows[begun:]:
        print(format_table(bench.rows[begun:]))
    for note in bench.notes[before:]:
        print(f"- {note}")
    sys.stdout.flush()
    if bench.settings.output is not None:
        write_results(bench.rows, bench.settings.output, _command(bench.settings), bench.notes)
    gc.collect()


def rows(quick: bool) -> list[Row]:
    """What is measured on this machine's first GPU, or in miniature on its CPU."""
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return measure(Settings(device, quick)).rows


def _command(settings: Settings) -> str:
    """The call, with the names of folders, not where they are on this machine."""
    parts = ["python -m tests.benchmarks.gpu", f"--device {settings.device}"]
    parts += ["--quick"] * settings.quick
    parts += [
        f"--{name} {folder.name}" for name in ("authors", "encoder") if (folder := getattr(settings, name))
    ]
    return " ".join([*parts, f"--budget-seconds {settings.budget_seconds:g}"])


def main(spent: float = 0.0) -> None:
    """The command line; exit code 1 where a section has failed.

    Args:
        spent: seconds of the budget that are gone already.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu", description="Measurements on a GPU."
    )
    parser.add_argument("--output", type=Path, help="write README.md, rows.json and environment.json here")
    parser.add_argument("--quick", action="store_true", help="in miniature, to see that it works")
    parser.add_argument(
        "--device", default="cuda:0" if torch.cuda.is_available() else "cpu", help="cuda:0 or cpu"
    )
    parser.add_argument("--authors", type=Path, help="copy of the authors' repository, to compare with")
    parser.add_argument("--encoder", type=Path, help="folder with MiniLM's weights, in any precision")
    parser.add_argument(
        "--budget-seconds", type=float, default=480.0, help="begin no section that would last longer"
    )
    try:
        bench = measure(Settings(**vars(parser.parse_args())), spent)
    except ValueError as error:
        parser.error(str(error))
    sys.exit(bench.failed)


if __name__ == "__main__":
    # what starting Python and loading torch has taken counts, too
    main(time.time() - psutil.Process().create_time())
