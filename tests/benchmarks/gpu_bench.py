"""What the sections of ``tests.benchmarks.gpu`` share: settings, encoders, texts, and what was found so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from gloss_tune.data import TextDataset
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.session import Session
from tests.benchmarks.synthetic import (
    BERT_BASE,
    MR_LIKE,
    NEWSGROUPS_LIKE,
    TINY,
    Lengths,
    Shape,
    synthetic_dataset,
    whole_words,
    write_encoder,
)
from tests.benchmarks.table import Row


class NotRunError(Exception):
    """A section cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Args:
        device: ``cuda:0``, or ``cpu`` for the miniature.
        quick: tiny encoders and batches.
        output: folder for the results; None for none.
        authors: folder with the authors' code; None leaves the comparison out.
        encoder: folder with MiniLM's weights; None for the packaged ones, or random ones.
        budget_seconds: for everything.
    """

    device: str
    quick: bool
    output: Path | None = None
    authors: Path | None = None
    encoder: Path | None = None
    budget_seconds: float = 480.0


@dataclass
class Bench:
    """What the sections share.

    Args:
        settings: what the command line says.
        folder: for encoders and other files that are needed meanwhile.
        deadline: by ``time.monotonic``.
    """

    settings: Settings
    folder: Path
    deadline: float
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    #: FLOP/s in bf16
    matrix_rates: list[float] = field(default_factory=list)
    #: of our loop on MR-like texts, documents/s
    our_rates: list[float] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.deadline - time.monotonic()

    @property
    def batch_size(self) -> int:
        return 8 if self.settings.quick else 128

    @property
    def precision(self) -> str:
        return "bfloat16" if self.settings.device.startswith("cuda") else "auto"

    @property
    def shape(self) -> Shape:
        return TINY if self.settings.quick else BERT_BASE

    @cached_property
    def base_encoder(self) -> Path:
        """Folder of an encoder of BERT-base's size, made by the first section that needs it."""
        folder = self.folder / "bert"
        return folder if (folder / "modules.json").exists() else write_encoder(folder, self.shape)

    @cached_property
    def base_words(self) -> list[str]:
        return whole_words(self.base_encoder)

    def dataset(self, lengths: Lengths) -> TextDataset:
        """Texts for :attr:`base_encoder`: as many as MR has, of the longer ones fewer."""
        steps = 4 if self.settings.quick else {MR_LIKE: 50, NEWSGROUPS_LIKE: 16}[lengths]
        documents = steps * self.batch_size
        return synthetic_dataset(self.base_words, lengths, documents, 2 * self.batch_size)

    def session(self, lengths: Lengths) -> Session:
        encoder = resolve_encoder(str(self.base_encoder))
        return Session(self.dataset(lengths), encoder, self.settings.device, self.max_length(lengths))

    def config(self, lengths: Lengths, epochs: int) -> FinetuneConfig:
        return FinetuneConfig(
            epochs=epochs,
            patience=epochs,
            batch_size=self.batch_size,
            max_length=self.max_length(lengths),
            learning_rate=2e-5,
            precision=self.precision,
        )

    def max_length(self, lengths: Lengths) -> int:
        return min(lengths.max_length, self.shape.positions)

    def describe(self, lengths: Lengths) -> str:
        size = "a tiny encoder" if self.settings.quick else "BERT-base size"
        return f"{lengths.name}, {size}, batch {self.batch_size}, at most {self.max_length(lengths)} tokens"

    def wait(self) -> None:
        if self.settings.device.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Section:
    """One kind of measurement.

    Args:
        name: for notes.
        seconds: it is not begun with less left of the budget.
        measure: gives rows as it has them.
    """

    name: str
    seconds: float
    measure: Callable[[Bench], Iterator[Row]]
