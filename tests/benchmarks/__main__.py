"""``make bench``: our training loop and loss against peers, as ratios of medians from one run."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from gloss_tune.data import TextDataset, load_dataset, subsample
from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.session import Session
from gloss_tune.losses import GLoss, gloss_loss, random_mask

MODEL = "all-MiniLM-L6-v2"
DOCS, BATCH, MAX_LENGTH = 512, 128, 128
RUNS = 3


def main() -> None:
    dataset = subsample(load_dataset("stdlib"), DOCS, seed=0)
    print(f"{len(dataset.train)} stdlib documents, MiniLM, batch {BATCH}, at most {MAX_LENGTH} tokens,")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {RUNS} runs\n")
    ours = _documents_per_second(lambda: _our_loop(dataset))
    peer = _documents_per_second(lambda: _sentence_transformers_trainer(dataset))
    step = BATCH / ours
    loss = statistics.median(_gloss_seconds(len(dataset.classes)) for _ in range(10))
    print(f"{'our loop':44}{ours:8.1f} documents/s")
    print(f"{'SentenceTransformerTrainer with GLoss':44}{peer:8.1f} documents/s")
    print(f"{'our loop / SentenceTransformerTrainer':44}{ours / peer:8.2f} ×")
    print(f"{'graph + propagation, K = 10, share of a step':44}{loss / step:8.2%}")


def _documents_per_second(train: Callable[[], float]) -> float:
    train()  # warm-up: caches, allocator, kernels
    return statistics.median(DOCS / train() for _ in range(RUNS))


def _our_loop(dataset: TextDataset) -> float:
    session = _SESSIONS.setdefault(id(dataset), Session(dataset, resolve_encoder(MODEL), "cpu", MAX_LENGTH))
    config = FinetuneConfig(epochs=1, batch_size=BATCH, max_length=MAX_LENGTH)
    reports = list(session.run(config).epochs())
    return reports[0].metrics["train_seconds"]


def _sentence_transformers_trainer(dataset: TextDataset) -> float:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    model = Encoder.load(resolve_encoder(MODEL), max_length=MAX_LENGTH).model
    rows = {"text": list(dataset.train.texts), "label": dataset.train.labels.tolist()}
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=Dataset.from_dict(rows),
            loss=GLoss(model, num_classes=len(dataset.classes)),
        )
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def _gloss_seconds(num_classes: int) -> float:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(BATCH, 384, generator=generator).requires_grad_()
    labels = torch.randint(num_classes, (BATCH,), generator=generator)
    masked = random_mask(labels, 0.5, generator)
    start = time.perf_counter()
    gloss_loss(embeddings, labels, masked, num_classes, temperature=0.1, iterations=10).backward()
    return time.perf_counter() - start


_SESSIONS: dict[int, Session] = {}

if __name__ == "__main__":
    main()
