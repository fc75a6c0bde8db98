"""One training as a worker makes it: MR, MiniLM, batch 128, 1,280 documents, 3 epochs; documents/s of each."""

import os
import sys
from pathlib import Path

import torch

from gloss_tune.data import load_dataset, subsample
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.session import Session

torch.set_num_threads(2)
dataset = subsample(load_dataset("mr", data_dir=Path(os.environ["GLOSS_TUNE_DATA"])), 1280, 0)
session = Session(dataset, resolve_encoder("sentence-transformers/all-MiniLM-L6-v2"), "cpu", 128)
config = FinetuneConfig(epochs=3, batch_size=128, max_length=128, precision="bfloat16")
speeds = [report.metrics["train_docs_per_second"] for report in session.run(config, lambda: None).epochs()]
print(sys.argv[1], [round(speed, 1) for speed in speeds])
