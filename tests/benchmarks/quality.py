"""That speed costs no quality: our loop against the plain one that it replaces, over seeds."""

from __future__ import annotations

import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer

from gloss_tune.data import TextDataset, epoch_batches
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.session import Session
from gloss_tune.losses import gloss_loss, random_mask
from gloss_tune.metrics import classification_metrics
from tests.benchmarks.table import Row
from tests.benchmarks.training import MAX_LENGTH, MODEL, dataset

_SEEDS = 3


def rows(quick: bool) -> list[Row]:
    """Val macro-F1 after the same epochs on the same documents, with the same loss, rates and orders."""
    data = dataset("mr", 64 if quick else 640)
    seeds = range(1 if quick else _SEEDS)
    epochs = 1 if quick else 2
    session = Session(data, resolve_encoder(MODEL), "cpu", MAX_LENGTH)
    ours, plain = [], []
    for seed in seeds:
        config = FinetuneConfig(
            epochs=epochs,
            batch_size=64,
            max_length=MAX_LENGTH,
            learning_rate=1e-4,
            seed=seed,
            patience=epochs,
        )
        *_, report = session.run(config).epochs()
        ours.append(report.metrics["val_macro_f1"])
        plain.append(_plain_loop(data, session, config))
        print(f"quality, seed {seed}: ours {ours[-1]:.4f}, plain {plain[-1]:.4f}", file=sys.stderr)
    what = f"{data.name}, {len(data.train)} documents, {epochs} epochs, {len(ours)} seeds: ours (no padding, bf16)"
    goal = "within noise"
    if len(ours) > 1:
        differences = [our - their for our, their in zip(ours, plain, strict=True)]
        goal = (
            f"within noise; sd {statistics.stdev(ours):.3f} and {statistics.stdev(plain):.3f}, paired difference "
            f"{statistics.mean(differences):+.4f} ± {statistics.stdev(differences):.4f}"
        )
    return [
        Row(
            "quality",
            what,
            "val macro-F1",
            ours,
            "a plain loop (padded, float32, torch's dropout)",
            plain,
            goal,
        )
    ]


def _plain_loop(data: TextDataset, session: Session, config: FinetuneConfig) -> float:
    """Nothing of ours but the loss and the order of the documents."""
    torch.manual_seed(config.seed)
    model = SentenceTransformer(str(resolve_encoder(MODEL).path), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_LENGTH
    head = torch.nn.Linear(384, len(data.classes))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    groups = [
        {
            "params": [p for p in model.parameters() if p.ndim > 1],
            "lr": config.learning_rate,
            "weight_decay": 0.01,
        },
        {
            "params": [p for p in model.parameters() if p.ndim <= 1],
            "lr": config.learning_rate,
            "weight_decay": 0.0,
        },
        {"params": head.parameters(), "lr": config.head_learning_rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    peaks = [group["lr"] for group in optimizer.param_groups]
    lengths = session.tokens("train", MAX_LENGTH).lengths
    masks = torch.Generator().manual_seed(config.seed)
    for epoch in range(1, config.epochs + 1):
        model.train()
        batches = epoch_batches(data.train.labels, lengths, config.batch_size, seed=config.seed, epoch=epoch)
        for index, batch in enumerate(batches):
            progress = (epoch - 1 + (index + 0.5) / len(batches)) / config.epochs
            warm = config.warmup_ratio
            factor = progress / warm if progress < warm else (1 - progress) / (1 - warm)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            labels = torch.from_numpy(data.train.labels[batch])
            tokens = model.tokenizer(
                [data.train.texts[i] for i in batch],
                padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt",
            )  # fmt: skip
            embeddings = model(dict(tokens))["sentence_embedding"]
            graph = gloss_loss(
                embeddings, labels, random_mask(labels, config.mask_ratio, masks), len(data.classes),
                temperature=config.temperature, iterations=config.lpa_iterations,
            )  # fmt: skip
            ce = F.cross_entropy(head(F.normalize(embeddings, dim=1)), labels)
            (config.gloss_weight * graph + (1 - config.gloss_weight) * ce).backward()
            torch.nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        found = model.encode(list(data.val.texts), convert_to_tensor=True, normalize_embeddings=True)
        predicted = head(found).argmax(dim=1).numpy()
    return classification_metrics(np.asarray(data.val.labels), predicted, len(data.classes))["macro_f1"]
