"""Whether a device computes what a CPU computes: before its speed says anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gloss_tune.data import TextDataset
from gloss_tune.encoder import Encoder, kernels, resolve_encoder
from gloss_tune.encoder.model import trained_modules
from gloss_tune.encoder.passes import EqualLengthPass
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.embedding import embed_chunk
from gloss_tune.finetune.session import Session

RUNS = [
    (loss, mode)
    for loss in ("gloss", "scl", "triplet", "cosine", "ce")
    for mode in ("integrated", "standalone")
    if (loss, mode) != ("ce", "standalone")
]
_COMPARED = ("train_loss", "val_loss")
SMALLEST = 1e-12  # a figure of 0 has no ratio


def losses_differ(
    dataset: TextDataset,
    encoder: Path,
    device: str,
    config: FinetuneConfig,
    runs: Sequence[tuple[str, str]] = RUNS,
) -> Iterator[tuple[str, float]]:
    """Each loss and mode in float32, and by how much its epochs' losses differ from those of a CPU, at most.

    Args:
        dataset: small.
        encoder: without dropout, whose draws differ between devices.
        device: to be compared.
        config: of the runs; loss, mode and precision are set here.
        runs: losses and modes.
    """
    sessions = [
        Session(dataset, resolve_encoder(str(encoder)), where, config.max_length) for where in ("cpu", device)
    ]
    for loss, mode in runs:
        run = replace(config, loss=loss, mode=mode, precision="float32")
        cpu, other = ([report.metrics for report in session.run(run).epochs()] for session in sessions)
        worst = max(
            abs(ours[name] - theirs[name]) / abs(theirs[name])
            for ours, theirs in zip(other, cpu, strict=True)
            for name in _COMPARED
        )
        yield f"{loss}, {mode}", max(worst, SMALLEST)


def packing_differs(dataset: TextDataset, encoder: Path, device: str, max_length: int) -> tuple[str, float]:
    """The pass of an encoder and its kernel; and by how much its gradients in bfloat16 differ from documents' alone."""
    session = Session(dataset, resolve_encoder(str(encoder)), device, max_length)
    loaded = Encoder.load(resolve_encoder(str(encoder)), device, max_length)
    tokens = session.tokens("train", max_length)
    described = pass_of(loaded)
    documents = (-tokens.lengths).argsort(kind="stable")[:32]
    alone = EqualLengthPass(trained_modules(loaded.model), loaded.preprocessor, loaded.pad_id)
    found = []
    for chosen in (loaded.choice.chosen, alone):
        loaded.choice = replace(loaded.choice, chosen=chosen)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            embeddings = embed_chunk(loaded, tokens, documents)
        embeddings.square().sum().backward()  # type: ignore[no-untyped-call]
        weights = [
            weight.grad.float().flatten() for weight in loaded.model.parameters() if weight.grad is not None
        ]
        found.append(torch.cat(weights))
        loaded.model.zero_grad(set_to_none=True)
    ours, theirs = found
    return described, max(float((ours - theirs).norm() / theirs.norm()), SMALLEST)


def pass_of(encoder: Encoder) -> str:
    """The pass that an encoder takes, and the kernel that computes its attention in bfloat16."""
    chosen = encoder.choice.chosen
    if not encoder.packs:
        return f"{chosen.name} ({encoder.choice.reason})"
    if encoder.device.type == "cpu":
        return f"{chosen.name}, in runs of similar length"
    config = encoder.model[0].auto_model.config
    width = config.hidden_size // config.num_attention_heads
    query = torch.zeros(1, 1, 1, width, dtype=torch.bfloat16, device=encoder.device)
    return f"{chosen.name}, {kernels.kernel_for(query).__name__}"


def without_dropout(encoder: Path) -> Path:
    """The same folder, whose encoder drops nothing from now on."""
    file = encoder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps(config), encoding="utf-8")
    return encoder


def chunks_under_a_limit(
    dataset: TextDataset, encoder: Path, device: str, config: FinetuneConfig
) -> tuple[float, float]:
    """The first epoch's loss with all of a card's memory, and with hardly more than the encoder takes itself."""
    session = Session(dataset, resolve_encoder(str(encoder)), device, config.max_length)
    free = next(session.run(config).epochs()).metrics["train_loss"]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(1.5 * torch.cuda.memory_reserved(device) / total, device)
    try:
        return free, next(session.run(config).epochs()).metrics["train_loss"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
