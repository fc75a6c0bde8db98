"""What a worker runs trials with: the study's data and encoder on its device, or in a rehearsal nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from gloss_tune.cores import CoreShare
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.device import hardware, pick_device
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.finetune.repeated import started
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.finetune.session import Session
from gloss_tune.logging import logger
from gloss_tune.processes import this_process
from gloss_tune.queue.claims import Claim
from gloss_tune.queue.heartbeats import live_workers
from gloss_tune.seeding import derive_seed
from gloss_tune.study.encoder import study_encoder
from gloss_tune.study.inputs import check_same_inputs, study_dataset
from gloss_tune.study.objective import Ending
from gloss_tune.study.precision import StudyPrecision, settle_precision
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.models import keep_model
from gloss_tune.workers.artifacts.store import upload_confusion, upload_epochs
from gloss_tune.workers.lease import WorkersHere
from gloss_tune.workers.options import WorkerOptions

if TYPE_CHECKING:
    from gloss_tune.finetune.loop import Finetune
    from gloss_tune.finetune.precision import Choice


class Runs(Protocol):
    """What a worker runs its trials with, one after the other."""

    @property
    def device(self) -> str:
        """What it computes on."""

    @property
    def loaded(self) -> bool:
        """Whether the device holds what all trials need."""

    def load(self) -> None:
        """Put that on the device, before any trial is claimed.

        Raises:
            DeviceFullError: its memory does not suffice now.
        """

    def trial_begins(self, workers_here: WorkersHere) -> None:
        """Before a trial: get ready to run beside the study's other workers on this machine."""

    def share_cores(self, workers_here: WorkersHere) -> None:
        """Between two steps: other workers may have come or gone."""

    def run(
        self, config: FinetuneConfig, on_step: Callable[[], None], count_workers: Callable[[], WorkersHere]
    ) -> FinetuneRun:
        """Start one fine-tune, which is then the latest.

        Args:
            config: its hyperparameters.
            on_step: called between two steps; may raise.
            count_workers: counts the study's workers on this machine as they are now.
        """

    def facts(self) -> dict[str, Any]:
        """What a trial shall say of where and how its latest run was computed."""

    def speed(self, report: EpochReport) -> float:
        """Documents a second in an epoch's training; 0 where nothing was trained."""

    def leave_artifacts(self, trial: optuna.Trial, claimed: Claim, ending: Ending) -> None:
        """Leave what the latest run has beside its numbers, before the trial is told; it must not cost the trial."""


def runs_of(opened: OpenStudy, options: WorkerOptions) -> Runs:
    """What the study's trials are run with.

    Raises:
        StudyMismatchError: if data set or encoder are not those that the study was made with.
    """
    return RehearsalRuns(opened) if opened.spec.rehearse else RealRuns(opened, options)


class RehearsalRuns:
    """Simulated fine-tunes, which need no data, no encoder and no device.

    Args:
        opened: the study.
        make: makes each of them, as :class:`Rehearsal` does.
    """

    device = "rehearsal"
    loaded = True

    def __init__(self, opened: OpenStudy, make: Callable[..., FinetuneRun] = Rehearsal) -> None:
        self._seconds = opened.spec.rehearse_seconds
        self._make = make

    def load(self) -> None:
        """Nothing is needed."""

    def trial_begins(self, workers_here: WorkersHere) -> None:
        """Nothing is shared."""

    def share_cores(self, workers_here: WorkersHere) -> None:
        """Nothing is shared."""

    def run(
        self, config: FinetuneConfig, on_step: Callable[[], None], count_workers: Callable[[], WorkersHere]
    ) -> FinetuneRun:
        """Start one simulated fine-tune."""
        seconds = self._seconds / config.trainings

        def start(one: FinetuneConfig, fold: int | None) -> FinetuneRun:
            if fold:  # other documents, other noise
                one = replace(one, seed=derive_seed(one.seed, "rehearsed fold", fold))
            return self._make(one, seconds=seconds, on_step=on_step)

        return started(config, start)

    def facts(self) -> dict[str, Any]:
        """Nothing was computed."""
        return {}

    def speed(self, report: EpochReport) -> float:
        """0: the formula's speed is no measurement."""
        return 0.0

    def leave_artifacts(self, trial: optuna.Trial, claimed: Claim, ending: Ending) -> None:
        """A rehearsal has nothing to leave."""


class RealRuns:
    """Fine-tunes of the study's encoder on the study's data.

    Args:
        opened: the study.
        options: device, threads, and the folders of data and artifacts.

    Raises:
        StudyMismatchError: if data set or encoder are not those that the study was made with.
    """

    def __init__(self, opened: OpenStudy, options: WorkerOptions) -> None:
        self.device = pick_device(options.device, lambda: _devices_in_use(opened))
        self._cores = CoreShare(self.device, options.threads)
        dataset = study_dataset(opened.spec, options.data_dir, made_with=opened.dataset)
        encoder = study_encoder(opened.spec, opened.encoder)
        check_same_inputs(opened, dataset, encoder)
        self._opened = opened
        self._artifacts = options.artifacts
        self._classes = dataset.classes
        self._latest: Finetune | None = None
        self._val_labels = dataset.val.labels
        self._session = Session(
            dataset, encoder, self.device, opened.spec.longest_documents, opened.spec.max_train_docs
        )
        self._threads = 1
        self._here: Choice | None = None
        self._settled: str | None = None

    @property
    def loaded(self) -> bool:
        """Whether the encoder is on its device."""
        return self._session.loaded

    def load(self) -> None:
        """Put the encoder on its device."""
        self._session.load()

    def trial_begins(self, workers_here: WorkersHere) -> None:
        """Take a fair share of the cores."""
        self.share_cores(workers_here)

    def share_cores(self, workers_here: WorkersHere) -> None:
        """See :meth:`CoreShare.share_cores`."""
        self._threads = self._cores.share_cores(workers_here.count, workers_here.others)

    def run(
        self, config: FinetuneConfig, on_step: Callable[[], None], count_workers: Callable[[], WorkersHere]
    ) -> FinetuneRun:
        """Start one fine-tune, which is then the latest; in the study's precision where the trial names none."""
        precision = self._study_precision() if config.precision == "auto" else None

        def start(one: FinetuneConfig, number: int | None) -> FinetuneRun:
            self._latest = None  # its memory is the next one's
            fold = None if number is None else self._session.fold(one, number, config.folds)
            self._latest = self._session.run(one, on_step, precision, fold)
            if fold is not None:
                self._val_labels = self._session.pool.labels[fold.val]
            self.share_cores(count_workers())  # loading took seconds, in which a neighbour may have come
            return self._latest

        return started(config, start)

    def facts(self) -> dict[str, Any]:
        """Device, hardware, threads, precision, and the speeds by which that was chosen."""
        facts = {"device": self.device, "hardware": hardware(self.device), "threads": self._threads}
        if self._latest is not None:
            facts["precision"] = self._latest.precision
        if self._here is not None and self._here.speeds:
            facts["speeds"] = dict(self._here.speeds)
        return facts

    def speed(self, report: EpochReport) -> float:
        """As measured in that epoch."""
        return report.metrics["train_docs_per_second"]

    def leave_artifacts(self, trial: optuna.Trial, claimed: Claim, ending: Ending) -> None:
        """Attach learning curve and confusion matrix to the trial, and keep its model if it is among the best."""
        if not ending.reports:
            return
        try:
            upload_epochs(trial, ending.reports, self._artifacts)
            confusion = self.val_confusion()
            if confusion is not None and ending.state == TrialState.COMPLETE:
                upload_confusion(trial, self._classes, confusion, self._artifacts)
        except OSError as error:  # a full disk must not cost the trial's result
            logger.warning(
                "Trial %d: its learning curve or confusion matrix could not be kept (%s).",
                trial.number,
                error,
            )
        if self._latest is not None:
            keep_model(self._opened, self._artifacts, claimed, self._latest, ending, self._classes)

    def val_confusion(self) -> NDArray[np.int64] | None:
        """Of the latest run's best epoch: validation documents (C, C) by true class (rows) and predicted one.

        None before the first epoch.
        """
        if self._latest is None or self._latest.best_predictions is None:
            return None
        size = len(self._classes)
        pairs = self._val_labels * size + self._latest.best_predictions.numpy()
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    def _study_precision(self) -> str:
        if self._settled is None:
            self._here = here = self._session.choice("auto")
            offered = StudyPrecision(
                here.precision, self.device, hardware(self.device), self._threads, here.speeds
            )
            study = settle_precision(self._opened, offered)
            self._settled = self._session.usable(study.precision)
            _tell(study, here, self._settled)
        return self._settled


def _tell(study: StudyPrecision, here: Choice, used: str) -> None:
    """Which precision it is and why; a warning where this machine would have taken another one."""
    if here.precision == study.precision:
        logger.info("Computing in %s; %s.", used, here.reason)
    elif used != study.precision:
        logger.warning(
            "The study computes in %s, as its first worker chose (%s, %s), which this torch cannot do on its device: "
            "here it is %s. Compare its trials with care.",
            study.precision, study.device, study.hardware, used,
        )  # fmt: skip
    else:
        logger.warning(
            "Computing in %s, as the study's first worker chose (%s, %s), so that its results can be compared; here it "
            "would have been %s (%s). 'create --set train.precision=%s' makes a study that computes so everywhere.",
            used, study.device, study.hardware, here.precision, here.reason, here.precision,
        )  # fmt: skip


def _devices_in_use(opened: OpenStudy) -> list[str]:
    """What the study's workers on this machine compute on."""
    here = this_process().host
    workers = live_workers(opened.storage, opened.study_id, opened.spec.lease)
    return [worker.device for worker in workers if worker.host == here]
