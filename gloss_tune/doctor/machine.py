"""Has this machine what a worker needs: data, encoder, device, cores, a folder for artifacts, room on the disk?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gloss_tune.cores import usable_cores
from gloss_tune.data.cache import cache_dir
from gloss_tune.doctor.checklist import Finding
from gloss_tune.encoder import Encoder, ResolvedEncoder
from gloss_tune.filesystem import LITTLE_SPACE, filesystem_kind, free_space, why_not_writable
from gloss_tune.finetune.device import pick_device
from gloss_tune.idle import IdleCores
from gloss_tune.queue.heartbeats import WorkerEntry
from gloss_tune.study.encoder import study_encoder, try_encoder
from gloss_tune.study.inputs import check_same_inputs, study_dataset
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count, duration, size
from gloss_tune.workers.artifacts.store import has_left_marker

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset

# bytes a parameter: float32 weights and the two moments of AdamW, and the best epoch's weights
_CHECKPOINT_BYTES = 12 + 4
_MODEL_BYTES = 4
_AMPLE = 3
_LITTLE_MEMORY = 10**9  # bytes
_LITTLE_IDLE = 0.5


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that loads here, and how many parameters it has."""

    resolved: ResolvedEncoder
    parameters: int


def check_data(opened: OpenStudy, data_dir: Path | None) -> Finding[TextDataset]:
    """Whether the study's data set is here; nothing is downloaded."""
    dataset = study_dataset(opened.spec, data_dir, download=False, made_with=opened.dataset)
    check_same_inputs(opened, dataset)
    return Finding(
        f"{dataset.name} from {dataset.source}: {len(dataset.train):,} documents to train, {len(dataset.val):,} to "
        f"validate, {len(dataset.classes)} classes; fingerprint {dataset.fingerprint}, the study's",
        value=dataset,
    )


def check_tokens(dataset: TextDataset) -> Finding[None]:
    """Whether the workers of this machine can share the data set's tokens."""
    folder = cache_dir() / "tokens"
    if reason := why_not_writable(folder):
        found = (
            f"the cache cannot be written to ({reason}), so that each worker makes its own tokens in memory"
        )
        return Finding(found, "warning", "fix that, or name another folder by GLOSS_TUNE_CACHE")
    made = any(folder.glob(f"{dataset.fingerprint}-train-*.bin"))
    return Finding(f"{'made already' if made else 'not made yet; the first start makes them'}, in {folder}")


def check_encoder(opened: OpenStudy, dataset: TextDataset | None) -> Finding[LoadedEncoder]:
    """Whether the study's encoder is here, loads, and embeds the study's texts, if they are, as its folder says."""
    resolved = study_encoder(opened.spec, opened.encoder)
    check_same_inputs(opened, encoder=resolved)
    start = time.perf_counter()
    # on the CPU: an encoder that loads is one thing, a device that works another
    if dataset is None:
        encoder = Encoder.load(resolved, device="cpu", max_length=opened.spec.longest_documents)
        parameters = sum(weight.numel() for weight in encoder.model.parameters())
        what = f"{parameters:,} parameters; not tried on the study's texts"
    else:
        tried = try_encoder(opened.spec, resolved, dataset)
        parameters, what = tried.parameters, str(tried)
    took = duration(time.perf_counter() - start)
    found = f"{resolved.name} from {resolved.path}, the study's: {what}; loaded in {took}"
    return Finding(found, value=LoadedEncoder(resolved, parameters))


def check_device(wanted: str) -> Finding[str]:
    """Which device a worker would compute on, and how much of its memory is free; the value is the device."""
    device = pick_device(wanted)
    memory = psutil.virtual_memory()
    name, free, total = "", memory.available, memory.total
    if device.startswith("cuda"):
        import torch

        name, (free, total) = f" ({torch.cuda.get_device_name(device)})", torch.cuda.mem_get_info(device)
    found = f"{device}{name}: {size(free)} of {size(total)} memory free"
    if free < _LITTLE_MEMORY:
        return Finding(found, "warning", "end what else uses it, or choose another --device", device)
    return Finding(found, value=device)


def check_cores(neighbours: Sequence[int] = ()) -> Finding[None]:
    """How many cores there are, and how many of them others keep busy now.

    Args:
        neighbours: process ids of the study's workers on this machine.
    """
    cores = usable_cores()
    idle = min(IdleCores().left(neighbours), cores)
    found = f"{cores} usable, other processes keep {cores - idle:.1f} of them busy now"
    if idle > _LITTLE_IDLE * cores:
        return Finding(found)
    advice = "wait until they are done; a worker leaves busy cores alone and computes with fewer threads"
    return Finding(found, "warning", advice)


def check_artifacts(
    folder: Path, study: str | None, at_work: Sequence[WorkerEntry], host: str
) -> Finding[Path]:
    """Whether the folder can be written to, and whether workers elsewhere use the same one."""
    if reason := why_not_writable(folder):
        found = f"{folder} cannot be written to ({reason}); trials that lose their worker would start over"
        return Finding(found, "failed", "fix that, or name another folder by --artifacts")
    kind = filesystem_kind(folder)
    found = f"{folder} can be {'written to' if folder.exists() else 'made'}{f' ({kind})' if kind else ''}"
    strangers = sorted(
        {w.host for w in at_work if study is not None and not has_left_marker(folder, study, w.id)}
    )
    if study is None or not strangers:
        others = sorted({worker.host for worker in at_work} - {host})
        too = f"; the workers on {', '.join(others)} use it too" if study is not None and others else ""
        return Finding(found + too, value=folder)
    found += (
        f", but the workers on {', '.join(strangers)} do not use it; a trial that moves there starts over"
    )
    return Finding(found, "warning", "name one folder that all machines share by --artifacts", folder)


def check_disk(
    workers_here: int, folder: Path, opened: OpenStudy, encoder: LoadedEncoder | None = None
) -> Finding[None]:
    """Whether checkpoints and kept models fit on the disk.

    Args:
        workers_here: workers on this machine, at least 1.
        folder: for artifacts.
        opened: the study.
        encoder: its; None in a rehearsal.
    """
    free, needed = free_space(folder), 0
    found = f"{size(free)} free"
    if encoder is not None:
        checkpoint, keep = encoder.parameters * _CHECKPOINT_BYTES, opened.spec.keep
        # both are written whole beside what they replace
        models = encoder.parameters * _MODEL_BYTES * (keep + workers_here if keep else 0)
        needed = 2 * checkpoint * workers_here + models
        found += f"; {size(checkpoint)} a checkpoint, {size(needed)} needed at most for "
        found += f"{count(workers_here, 'worker')} on this machine"
        found += f" and {count(keep, 'kept model')}" if keep else ""
    advice = "make room, or name a folder on another disk by --artifacts"
    if free < needed:
        return Finding(found, "failed", advice)
    if free < max(_AMPLE * needed, LITTLE_SPACE):
        return Finding(found, "warning", advice)
    return Finding(found)
