"""The command line: one file per command, each a thin face over a plain function.

Nothing here imports torch or Optuna before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Annotated

import typer

from gloss_tune import __version__
from gloss_tune.cli.compare import compare
from gloss_tune.cli.confirm import confirm
from gloss_tune.cli.create import create
from gloss_tune.cli.dashboard import dashboard
from gloss_tune.cli.datasets import datasets
from gloss_tune.cli.demo import demo
from gloss_tune.cli.doctor import doctor
from gloss_tune.cli.enqueue import enqueue
from gloss_tune.cli.export import export
from gloss_tune.cli.extend import extend
from gloss_tune.cli.launch import launch
from gloss_tune.cli.paper import paper
from gloss_tune.cli.pause import pause
from gloss_tune.cli.predict import predict
from gloss_tune.cli.reap import reap
from gloss_tune.cli.report import report
from gloss_tune.cli.resume import resume
from gloss_tune.cli.retrain import retrain
from gloss_tune.cli.run import run
from gloss_tune.cli.status import status
from gloss_tune.cli.stop import stop
from gloss_tune.cli.storage import storage
from gloss_tune.cli.studies import studies
from gloss_tune.cli.trials import trials
from gloss_tune.cli.worker import worker
from gloss_tune.errors import GlossTuneError, WorkLeftError
from gloss_tune.limits import limit_reached
from gloss_tune.logging import configure, redact

__all__ = ["app", "main"]

app = typer.Typer(
    name="gloss-tune",
    help="Find the hyperparameters of graph-driven (G-Loss) fine-tuning of sentence encoders for text classification.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_STUDY, _WORKERS, _RESULTS, _MODEL, _MACHINE = "Study", "Workers", "Results", "Model", "Machine"
_COMMANDS = {
    _STUDY: (run, demo, create, extend, enqueue, pause, resume, stop, status, trials),
    _WORKERS: (worker, launch, reap),
    _RESULTS: (export, confirm, compare, report, dashboard, paper),
    _MODEL: (retrain, predict),
    _MACHINE: (doctor,),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(studies, name="studies", rich_help_panel=_STUDY)
app.add_typer(storage, name="storage", rich_help_panel=_MACHINE)
app.add_typer(datasets, name="datasets", rich_help_panel=_MACHINE)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"gloss-tune {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    configure()


def main() -> None:
    """The entry point: errors raised on purpose end with their message and exit code, without a traceback."""
    try:
        app()
    except WorkLeftError as error:  # the workers have said why
        sys.exit(error.exit_code)
    except GlossTuneError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except (
        KeyboardInterrupt
    ):  # before a command listens to signals, or in one that has nothing to put in order
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our stdout has left, as in 'gloss-tune trials | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    # the machine's trouble: a full disk, perhaps under our stdout, or missing rights
    except OSError as error:
        if error.errno == errno.ENOSPC and sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(limit_reached(error) or f"{error}; fix that and repeat")
        sys.exit(1)
    except Exception as error:
        limit = limit_reached(error)
        trouble = _storage_trouble(error) if limit is None else (limit, 1)
        if trouble is None:
            raise
        message, code = trouble
        _complain(message)
        sys.exit(code)


def _storage_trouble(error: Exception) -> tuple[str, int] | None:
    """What a database's error means, and the exit code; None if the error is not a database's."""
    if "sqlalchemy" not in sys.modules:
        return None
    from gloss_tune.storage.sqlstate import is_storage_error, outage, reason_of, refusal

    if (reason := outage(error)) is not None:
        return f"The storage does not answer: {reason}. Try again when it does", 69
    if (refused := refusal(error)) is not None:
        return f"The storage does not do what was asked: {refused[0]}. Next: {refused[1]}", 2
    if not is_storage_error(error):
        return None
    return f"The storage does not do what was asked: {reason_of(error)}. Fix that and repeat", 1


def _complain(message: str) -> None:
    if sys.stderr is not None:  # it may have been closed by whoever started us
        sys.stderr.write(f"Error: {redact(message)}\n")
