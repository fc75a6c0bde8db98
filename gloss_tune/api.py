"""Studies from Python, for notebooks and scripts: ``create_study``, ``open_study``, ``list_studies``.

    study = gloss_tune.create_study(dataset=frame, trials=20, space={"temperature": (0.01, 1.0)}, epochs=3)
    study.run(workers=2)
    study.best
    classifier = study.retrain("model")

Each method is the command of its name: both call the same functions, and a study that one makes the other goes on with.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.errors import InputError
from gloss_tune.logging import configure, logger
from gloss_tune.signals import stop_on_signal
from gloss_tune.study.study import OpenStudy
from gloss_tune.study.study import open_study as _open

if TYPE_CHECKING:
    import pandas as pd

    from gloss_tune.finetune.classifier import Classifier

DEFAULT_STORAGE = "sqlite:///gloss-tune.db"
_DATA = "datasets"  # folder of the artifacts folder for data sets that came as tables


def create_study(
    dataset: Any,
    *,
    name: str | None = None,
    trials: int = 20,
    storage: str = DEFAULT_STORAGE,
    space: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    artifacts: str | Path | None = None,
    **fields: Any,
) -> Study:
    """Make a study, or find it as it was made before.

    Args:
        dataset: a known data set's name, a path, ``hf:OWNER/NAME[/CONFIG]``, a pandas DataFrame, a
            ``datasets.Dataset``, or one of these for each split. Tables are written to the artifacts folder.
        name: the study's name; by default made of data set, encoder and loss.
        trials: the budget.
        storage: the database: ``sqlite:///FILE`` or ``postgresql://…``.
        space: what is searched: ``(low, high)``, a list of choices, a table as in a specification file, or one value,
            which fixes the hyperparameter.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        artifacts: folder for files; by default beside an SQLite storage, else in the current folder.
        fields: any other field of the specification (``loss="ce"``, ``sampler``, ``seed``, ``text_column`` …) or fixed
            hyperparameter (``epochs=3``, ``batch_size=64`` …).

    Raises:
        InputError: something is wrong; nothing was written.
        StudyMismatchError: a study of that name has another specification or data set.
    """
    from gloss_tune.data.frames import is_frame, write_frames
    from gloss_tune.finetune.config import TRAIN_FIELDS
    from gloss_tune.spec.build import build_spec
    from gloss_tune.study.create import create
    from gloss_tune.workers.artifacts.store import artifacts_folder

    chosen = None if artifacts is None else Path(artifacts)
    top = {key: value for key, value in fields.items() if key not in TRAIN_FIELDS}
    train = {key: value for key, value in fields.items() if key in TRAIN_FIELDS}
    if is_frame(dataset):
        columns = {key: top.pop(key) for key in ("text_column", "label_column") if key in top}
        dataset = write_frames(dataset, artifacts_folder(storage, chosen) / _DATA, **columns)
    layer: dict[str, Any] = {"dataset": str(dataset), "trials": trials, **top, "train": train}
    layer["space"] = {key: _range(value) for key, value in (space or {}).items()}
    made = create(build_spec(layer), storage, name, data_dir=None if data_dir is None else Path(data_dir))
    logger.info("Study %s %s.", made.study.name, "is made" if made.is_new else "was there already, the same")
    return Study(made.study, storage, data_dir, artifacts)


def open_study(
    name: str | None = None,
    *,
    storage: str = DEFAULT_STORAGE,
    data_dir: str | Path | None = None,
    artifacts: str | Path | None = None,
) -> Study:
    """Find a study.

    Args:
        name: its name; may be None where the storage holds one study.
        storage: the database.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        artifacts: folder of its files.

    Raises:
        InputError: there is no such study, or several and none was named.
    """
    return Study(_open(storage, name), storage, data_dir, artifacts)


def list_studies(storage: str = DEFAULT_STORAGE, *, artifacts: str | Path | None = None) -> pd.DataFrame:
    """The studies of a storage, each in a row, as ``gloss-tune studies`` lists them."""
    import pandas as pd

    from gloss_tune.catalog.listing import list_studies as read
    from gloss_tune.workers.artifacts.store import artifacts_folder

    rows = read(storage, artifacts_folder(storage, None if artifacts is None else Path(artifacts)))
    counted = [{f"trials_{state}": number for state, number in row.pop("trials").items()} for row in rows]
    frame: pd.DataFrame = pd.DataFrame([{**row, **trials} for row, trials in zip(rows, counted, strict=True)])
    return frame


_WORKER_OPTIONS = {"max_trials", "timeout", "threads", "grace", "track", "leave_when_empty", "until"}


class Study:
    """A study on its storage. Made by :func:`create_study` and :func:`open_study`."""

    def __init__(
        self,
        opened: OpenStudy,
        storage: str,
        data_dir: str | Path | None = None,
        artifacts: str | Path | None = None,
    ) -> None:
        self._opened = opened
        self._storage = storage
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._artifacts = None if artifacts is None else Path(artifacts)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._opened.name

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification, as plain values."""
        return self._opened.spec.to_dict()

    def run(
        self,
        workers: int | None = 1,
        *,
        device: str = "auto",
        workers_per_device: int | str | None = None,
        threads: int | None = None,
        verbose: bool = True,
        **options: Any,
    ) -> Study:
        """Run trials until the budget is used up: in this process, or by several processes that are looked after.

        Ctrl-C, or a notebook's stop button, ends the epoch and gives the trial back; running it again goes on.

        Args:
            workers: how many; None for one on each device.
            device: ``auto``, ``cpu``, ``cuda:0`` or several with commas between.
            workers_per_device: instead of ``workers``; ``"auto"`` measures.
            threads: CPU threads of each worker; None to share the cores.
            verbose: whether to say what happens, on stderr.
            options: as :func:`gloss_tune.workers.options.worker_options` takes them (``max_trials``, ``timeout`` …).

        Raises:
            WorkLeftError: it was interrupted; a StudyStoppedError if somebody stopped the study.
        """
        from gloss_tune.launch.group import choose_workers, finish_study

        given = workers if workers_per_device is None else None
        group = choose_workers(
            device, given, workers_per_device, rehearsal=self._opened.spec.rehearse, threads=threads
        )
        with _talking(verbose), stop_on_signal() as stop:
            finish_study(self._opened, self._storage, self._options(threads=threads, **options), group, stop)
        return self

    def pause(self) -> Study:
        """Let its workers, wherever they run, finish their epoch, give their trials back, and wait."""
        return self._steer("paused")

    def stop(self) -> Study:
        """Let its workers, wherever they run, finish their epoch, give their trials back, and leave."""
        return self._steer("stopped")

    def resume(self) -> Study:
        """Undo :meth:`pause` and :meth:`stop`."""
        return self._steer(None)

    def _steer(self, steering: str | None) -> Study:
        from gloss_tune.queue.steering import Steering, steer

        steer(self._opened.storage, self._opened.study_id, Steering(steering) if steering else None)
        return self

    def extend(self, trials: int, *, token: str | None = None) -> Study:
        """Queue so many trials more; the same ``token`` again adds none."""
        from gloss_tune.study.extend import extend

        extend(self._opened, trials, token)
        return self._again()

    def enqueue(self, params: Mapping[str, Any], *, token: str | None = None) -> Study:
        """Queue one trial more with these parameters; what is left out is drawn."""
        from gloss_tune.study.extend import enqueue

        enqueue(self._opened, params, token)
        return self._again()

    def status(self) -> dict[str, Any]:
        """How it stands: what ``gloss-tune status --format json`` prints."""
        from gloss_tune.study.status import status

        return status(self._opened)

    def trials(self) -> pd.DataFrame:
        """Every trial in a row; parameters as ``params_NAME``, metrics as ``metrics_NAME``."""
        import pandas as pd

        from gloss_tune.study.status import flat_trials

        frame: pd.DataFrame = pd.DataFrame(flat_trials(self._opened))
        return frame

    @property
    def best(self) -> dict[str, Any] | None:
        """``number``, ``value`` and ``params`` of the best trial; None while none is complete."""
        best: dict[str, Any] | None = self.status()["best"]
        return best

    def export(self, trial: int | None = None, *, unconfirmed: bool = False) -> dict[str, Any]:
        """The parameters to use, with all that is needed to rerun them: what ``gloss-tune export`` prints."""
        from gloss_tune.confirm.export import export

        return export(self._opened, trial, unconfirmed=unconfirmed)

    def confirm(
        self, top: int | None = None, seeds: int | None = None, workers: int | None = 1, **options: Any
    ) -> dict[str, Any]:
        """Train the best settings again with fresh seeds and rank them: what ``gloss-tune confirm`` prints."""
        from gloss_tune.confirm.confirmation import confirm, ranking

        queued = confirm(self._opened, top, seeds)
        Study(queued.study, self._storage, self._data_dir, self._artifacts).run(workers, **options)
        ranked = ranking(queued.study)
        assert ranked is not None
        return ranked

    def retrain(
        self,
        output: str | Path,
        *,
        seeds: int = 1,
        trial: int | None = None,
        push: str | None = None,
        verbose: bool = True,
        **options: Any,
    ) -> Classifier:
        """Train with the best parameters on all data, measure on the test documents, write the model, and load it.

        Args:
            output: folder for the model, new or empty.
            seeds: how many trainings; the one that is best in validation is written.
            trial: take this trial's parameters.
            push: ``owner/name`` on the Hub, to upload the folder to (``private=False``: for everybody).
            verbose: whether to say what happens, on stderr.
            options: as :class:`gloss_tune.retrain.retrain.RetrainOptions` takes them (``device``, ``threads`` …).
        """
        from gloss_tune.finetune.classifier import load_classifier
        from gloss_tune.retrain.retrain import RetrainOptions, retrain

        known = {"data_dir": self._data_dir, "push": push, **options}
        with _talking(verbose), stop_on_signal() as stop:
            retrain(self._opened, RetrainOptions(Path(output), trial=trial, seeds=seeds, **known), stop)
        return load_classifier(output, trust_remote_code=self._opened.spec.trust_remote_code)

    def report(self, output: str | Path, *, publish: bool = False, **options: Any) -> Path:
        """Write the study as something to read; returns the HTML page."""
        from gloss_tune.report import ReportOptions, write_report

        chosen = ReportOptions(
            Path(output), self._options().artifacts, data_dir=self._data_dir, publish=publish, **options
        )
        return write_report(self._opened, chosen)[-1]

    def delete(self, *, force: bool = False) -> None:
        """Delete the study with its confirmation and all their files."""
        from gloss_tune.catalog.changes import delete_study

        delete_study(self._storage, self.name, self._options().artifacts, force=force)

    def __repr__(self) -> str:
        now = self.status()
        trials, best = now["trials"], now["best"]
        value = "none yet" if best is None else f"{best['value']:.4f}"
        ended = trials["budget"] - trials["waiting"] - trials["running"]
        return f"<Study {self.name}: {now['state']}, {ended} of {trials['budget']} trials, best {value}>"

    def _repr_html_(self) -> str:
        """For notebooks: how it stands, and its best trials."""
        now = self.status()
        frame = self.trials()
        columns = list(map(str, frame.columns))
        shown = [*("number", "state", "value"), *(name for name in columns if name.startswith("params_"))]
        best = frame.sort_values("value", ascending=False, na_position="last").head(5)[shown]
        named = best.rename(columns=lambda column: column.removeprefix("params_"))
        head = f"<b>{html.escape(repr(self).strip('<>'))}</b>, {html.escape(now['metric'])}"
        return f"<div>{head}{named.to_html(index=False, float_format='{:.4g}'.format)}</div>"

    def _options(self, **options: Any) -> Any:
        from gloss_tune.workers.options import worker_options

        unknown = sorted(options.keys() - _WORKER_OPTIONS)
        if unknown:
            raise InputError(
                f"run takes {', '.join(sorted(_WORKER_OPTIONS))}; got {', '.join(unknown)}; leave that out"
            )
        return worker_options(self._storage, self._artifacts, data_dir=self._data_dir, **options)

    def _again(self) -> Study:
        self._opened = _open(self._storage, self.name)
        return self


def _range(given: Any) -> Any:
    """A range as a specification has it."""
    if isinstance(given, tuple):
        if len(given) != 2:
            raise InputError(f"A range is (low, high), got {given!r}; a list names choices")
        return {"low": given[0], "high": given[1]}
    if isinstance(given, Mapping | str) or not isinstance(given, Sequence):
        return given
    return {"choices": list(given)}


@contextlib.contextmanager
def _talking(verbose: bool) -> Iterator[None]:
    """Messages go to stderr for the block, unless the caller has set up logging."""
    if not verbose or logger.handlers:
        yield
        return
    before = (logger.handlers[:], logger.level, logger.propagate)
    configure()
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
