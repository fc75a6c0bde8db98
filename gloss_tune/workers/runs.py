"""What a worker needs to train: the study's data and encoder on this machine, its device, its share of the cores."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gloss_tune.cores import CoreShare
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.device import pick_device
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.finetune.session import Session
from gloss_tune.study.inputs import check_same_inputs, study_dataset
from gloss_tune.study.study import OpenStudy

if TYPE_CHECKING:
    from gloss_tune.finetune.loop import Finetune


class RealRuns:
    """Fine-tunes of the study's encoder on the study's data.

    Args:
        opened: the study.
        device: ``auto``, ``cpu``, ``cuda:0`` …
        threads: CPU threads of torch, None to share the cores.
        data_dir: folder of ``NAME/{train,val,test}.csv``.

    Raises:
        StudyMismatchError: if data set or encoder are not those that the study was made with.
    """

    def __init__(self, opened: OpenStudy, device: str, threads: int | None, data_dir: Path | None) -> None:
        self.device = pick_device(device)
        self._cores = CoreShare(self.device, threads)
        dataset = study_dataset(opened.spec, data_dir)
        encoder = resolve_encoder(opened.spec.model)
        check_same_inputs(opened, dataset, encoder)
        self.classes = dataset.classes
        self.latest: Finetune | None = None
        self._val_labels = dataset.val.labels
        self._session = Session(dataset, encoder, self.device, opened.spec.longest_documents)

    def share_cores(self, workers_here: int, neighbours: Collection[int]) -> int:
        """See :meth:`CoreShare.share_cores`."""
        return self._cores.share_cores(workers_here, neighbours)

    def run(self, config: FinetuneConfig, on_step: Callable[[], None]) -> FinetuneRun:
        """Start one fine-tune, which is then the latest."""
        self.latest = None  # its memory is the next one's
        self.latest = self._session.run(config, on_step)
        return self.latest

    def val_confusion(self) -> NDArray[np.int64] | None:
        """Of the latest run's best epoch: validation documents (C, C) by true class (rows) and predicted one.

        None before the first epoch.
        """
        if self.latest is None or self.latest.best_predictions is None:
            return None
        size = len(self.classes)
        pairs = self._val_labels * size + self.latest.best_predictions.numpy()
        return np.bincount(pairs, minlength=size * size).reshape(size, size)
