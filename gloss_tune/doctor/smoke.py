"""A few steps of a trial that nobody claimed: does training work here, and how long will the study take?"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gloss_tune.data import TokenizedSplit, epoch_batches
from gloss_tune.faults import lost_device_told
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.session import Session
from gloss_tune.spec.spec import StudySpec

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset
    from gloss_tune.encoder import ResolvedEncoder

_STEPS = 6
_ENOUGH_SECONDS = 6.0
_EVALUATED = 256


@dataclass(frozen=True)
class Measured:
    """What a few steps took.

    Args:
        batch_size: documents in a step.
        step_seconds: one step, warm-up not counted.
        document_seconds: one document of validation.
        trial_seconds: a whole trial that is neither pruned nor ends early.
        memory: the most that was in use, in bytes.
        precision: that a trial here would compute in, if the study's first worker has not settled another one.
        why: it would, in words.
    """

    batch_size: int
    step_seconds: float
    document_seconds: float
    trial_seconds: float
    memory: float
    precision: str
    why: str


class _EnoughError(Exception):
    """The steps that were wanted are done."""


@lost_device_told()
def measure(
    spec: StudySpec,
    dataset: TextDataset,
    encoder: ResolvedEncoder,
    device: str,
    settled: str | None = None,
) -> Measured:
    """Train for a few steps and evaluate a few documents, with the worker's own code.

    Args:
        spec: the study.
        dataset: the study's, its texts on this machine.
        encoder: the study's.
        device: ``cpu``, ``cuda:0`` …
        settled: the precision that the study has; None where its first worker will choose.

    Raises:
        GlossTuneError: the trial cannot be run here.
    """
    import torch

    from gloss_tune.finetune.memory import peak_memory_mb

    config = middle_config(spec)
    session = Session(dataset, encoder, device, spec.longest_documents, spec.max_train_docs)
    fold = session.fold(config, 0, config.folds) if config.folds > 1 else None
    train, val = session.parts(config.max_length, fold)
    steps = len(epoch_batches(train.labels, train.lengths, config.batch_size, seed=config.seed, epoch=1))
    marks = [time.perf_counter()]

    def on_step() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)  # a step is done when the device is done with it
        marks.append(time.perf_counter())
        if len(marks) > min(steps, _STEPS) or (len(marks) > 2 and marks[-1] - marks[0] > _ENOUGH_SECONDS):
            raise _EnoughError

    choice = session.choice(config.precision)
    precision = choice.precision if settled is None else session.usable(settled)
    run = session.run(config, on_step, precision, fold)
    marks[:] = [time.perf_counter()]
    with contextlib.suppress(_EnoughError):
        next(run.epochs())
    step_seconds = float(np.mean(np.diff(marks[1:] if len(marks) > 2 else marks)))

    some = sample(val, _EVALUATED)
    evaluation = session.run(
        config, precision=precision, fold=fold
    )  # as a run that has trained no step: it shares the encoder
    start = time.perf_counter()
    evaluation.evaluate(some)
    document_seconds = (time.perf_counter() - start) / len(some)
    # a linear probe, too, wants each training document embedded once an epoch
    embedded = len(val) + (len(train) if config.mode == "standalone" else 0)
    epoch_seconds = steps * step_seconds + embedded * document_seconds
    return Measured(
        min(config.batch_size, len(train)),
        step_seconds,
        document_seconds,
        config.trainings * config.epochs * epoch_seconds,
        peak_memory_mb(torch.device(device)) * 2**20,
        choice.precision,
        choice.reason,
    )


def middle_config(spec: StudySpec) -> FinetuneConfig:
    """A fine-tune such as the study's trials ask for: the middle of each range."""
    return spec.config({searched.name: searched.middle() for searched in spec.ranges})


def sample(tokens: TokenizedSplit, most: int) -> TokenizedSplit:
    """At most so many documents of a split, evenly taken from it, so that long and short ones are among them."""
    chosen = np.unique(np.linspace(0, len(tokens) - 1, min(most, len(tokens))).astype(np.int64))
    return tokens.take(chosen)
