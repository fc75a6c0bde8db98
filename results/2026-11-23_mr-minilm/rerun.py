"""Train with the exported best parameters on all of the training data, and report test metrics once.

python results/2026-11-23_mr-minilm/rerun.py best.json [--seed 0] [--output test.json]

The data set comes from GLOSS_TUNE_DATA, as for gloss-tune itself.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import fields
from pathlib import Path

from gloss_tune.data import load_dataset
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    exported = json.loads(options.export.read_text(encoding="utf-8"))
    seed = exported["seed"] if options.seed is None else options.seed

    data_dir = os.environ.get("GLOSS_TUNE_DATA")
    dataset = load_dataset(exported["dataset"]["name"], data_dir=Path(data_dir) if data_dir else None)
    assert dataset.fingerprint == exported["dataset"]["fingerprint"], "not the data that the study saw"
    encoder = resolve_encoder(exported["model"])
    assert encoder.fingerprint == exported["encoder_fingerprint"], "not the encoder that the study tuned"

    known = {field.name for field in fields(FinetuneConfig)}
    values = {**exported["best"]["params"], **{k: v for k, v in exported.items() if k in known}, "seed": seed}
    config = FinetuneConfig(**values)
    session = Session(dataset, encoder, "cpu", config.max_length)
    start = time.perf_counter()
    run = session.run(config)
    epochs = []
    for report in run.epochs():
        print(f"epoch {report.epoch}: {config.metric} {report.metrics[config.metric]:.4f}")
        epochs.append({"epoch": report.epoch, **report.metrics})
    assert run.best is not None
    result = {
        "seed": seed,
        "n_train": len(dataset.train),
        "n_test": len(dataset.test),
        "best_epoch": run.best.epoch,
        "test": run.evaluate(session.tokens("test", config.max_length)),
        "seconds": round(time.perf_counter() - start, 1),
        "params": exported["best"]["params"],
        "epochs": epochs,
    }
    print(json.dumps({key: result[key] for key in ("seed", "best_epoch", "test", "seconds")}, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
