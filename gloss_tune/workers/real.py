"""What a worker needs to train: the study's data and encoder on this machine, its device, its share of the cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gloss_tune.encoder import resolve_encoder
from gloss_tune.errors import InputError, StudyMismatchError
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.protocol import FinetuneRun
from gloss_tune.finetune.session import Session
from gloss_tune.study.create import describe, study_dataset
from gloss_tune.study.layers import differences
from gloss_tune.study.opened import OpenStudy
from gloss_tune.workers.cores import CoreShare

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
        self._cores = CoreShare(self.device, threads)
        self.classes = dataset.classes
        self.latest: Finetune | None = None
        self._session = Session(dataset, encoder, self.device, opened.spec.longest_documents)

    def look_at_load(self, workers_here: int) -> None:
        """See :meth:`CoreShare.look_at_load`."""
        self._cores.look_at_load(workers_here)

    def share_cores(self, workers_here: int) -> int:
        """See :meth:`CoreShare.share_cores`."""
        return self._cores.share_cores(workers_here)

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
