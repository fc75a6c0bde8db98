"""What a worker needs to train: the study's data and encoder on this machine, its device, its share of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gloss_tune.encoder import resolve_encoder
from gloss_tune.errors import InputError, StudyMismatchError
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.protocol import FinetuneRun
from gloss_tune.finetune.session import Session
from gloss_tune.logging import logger
from gloss_tune.study.create import describe, study_dataset
from gloss_tune.study.layers import differences
from gloss_tune.study.opened import OpenStudy

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
        self._opened = opened
        self._threads = threads
        self._sharing: int | None = None
        self._others = 0.0
        dataset = study_dataset(opened.spec, data_dir)
        encoder = resolve_encoder(opened.spec.model)
        found = [
            *differences(dict(opened.dataset), describe(dataset), "dataset."),
            *differences(
                dict(opened.encoder), {"name": encoder.name, "fingerprint": encoder.fingerprint}, "encoder."
            ),
        ]
        if found:
            raise StudyMismatchError(
                opened.name, found, "Give this worker the study's own data (--data-dir) and encoder."
            )
        self.device = pick_device(device)
        self.classes = dataset.classes
        self.latest: Finetune | None = None
        self._session = Session(dataset, encoder, self.device, opened.spec.longest_documents)

    def look_at_load(self, workers_here: int) -> None:
        """Between two trials: how many cores do processes that are not the study's keep busy?

        A torch thread that waits for a core stops all the others at the end of each small operation: on a busy
        machine two threads on two cores were measured at a quarter of the speed of one.
        """
        if hasattr(os, "getloadavg"):
            ours = workers_here * (self._sharing or 0)
            self._others = max(0.0, os.getloadavg()[0] - ours)

    def share_cores(self, workers_here: int) -> int:
        """Compute with a fair share of the cores: two processes with all of them each are slower than one.

        The last bits of a result depend on the number of threads; with ``threads`` given, they never change.

        Returns:
            The number of threads.
        """
        import torch

        left = max(1, round(usable_cores() - self._others))
        threads = self._threads or max(1, left // workers_here)
        if threads != self._sharing:
            self._sharing = threads
            torch.set_num_threads(threads)
            logger.info(
                "Computing on %s with %d thread%s.", self.device, threads, "" if threads == 1 else "s"
            )
        return threads

    def run(self, config: FinetuneConfig, on_step: Callable[[], None]) -> FinetuneRun:
        """Start one fine-tune, which is then the latest."""
        self.latest = self._session.run(config, on_step)
        return self.latest


def pick_device(device: str) -> str:
    """The device meant by a name.

    Raises:
        InputError: if there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device {device!r} cannot be used ({reason}); choose auto, cpu or cuda:N") from None
    return str(chosen)


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
