"""The card of models that no test trains: of a Hub encoder, with odd class names, with many classes."""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import ModelCard

from gloss_tune.retrain.model_card import model_card

SCORES = {"accuracy": 0.75, "macro_f1": 0.5, "silhouette": None, "loss": 0.6}


def description(classes: list[str], **changes: Any) -> dict[str, Any]:
    spread = {name: {"mean": value, "sd": None} for name, value in SCORES.items()}
    return {
        "study": "s", "study_fingerprint": "f" * 16, "trial": 3, "trial_value": 0.8, "confirmed": None,
        "loss": "gloss", "mode": "integrated", "metric": "val_macro_f1",
        "params": {"epochs": 3, "learning_rate": 1.2345678e-05}, "searched": ["learning_rate"],
        "dataset": {
            "name": "mr", "fingerprint": "0" * 16, "n_train": 1600, "n_train_of": 7000, "n_train_in_study": 1600,
            "n_val": 700, "n_test": 3554, "n_classes": len(classes),
        },
        "encoder": {"name": "sentence-transformers/all-MiniLM-L6-v2", "fingerprint": "e"},
        "classes": classes, "max_length": 64, "precision": "float32", "device": "cuda:0", "threads": 1,
        "versions": {"torch": "2"}, "seed": 0, "epoch": 2, "value": 0.8, "metrics": {}, "test": SCORES,
        "seeds": [{"seed": 0, "epoch": 2, "value": 0.8, "test": SCORES, "saved": True}],
        "over_seeds": {"n": 1, "val": {}, "test": spread},
        "per_class": [
            {"class": name, "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "documents": 4} for name in classes
        ],
        "confusion_matrix": [[0] * len(classes) for _ in classes],
        **changes,
    }  # fmt: skip


def test_a_hub_encoder_and_a_published_data_set_are_linked() -> None:
    text = model_card(description(["neg", "pos"]), "my-model")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front["datasets"] == ["mr"]
    assert "g-loss" in front["tags"]
    assert [r.metric_value for r in ModelCard(text).data.eval_results] == [0.75, 0.5]
    assert "a stratified sample of 1,600 of the 7,000 training documents" in text
    assert "| learning_rate | 1.23457e-05 | searched |" in text
    assert "| silhouette | – |" in text


def test_names_that_the_hub_does_not_know_are_no_links() -> None:
    odd = description(["neg", "pos"], encoder={"name": "mine", "fingerprint": "e"}, loss="ce")
    odd["dataset"] = {**odd["dataset"], "name": "my data"}
    front = yaml.safe_load(model_card(odd, "m").split("---\n")[1])
    assert not {"base_model", "datasets"} & front.keys()
    assert "g-loss" not in front["tags"]


def test_class_names_cannot_break_the_tables() -> None:
    text = model_card(description(["a|b", "c\nd"]), "m")
    rows = [line for line in text.splitlines() if line.startswith("| a\\|") or line.startswith("| c d")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [6, 6, 4, 4]


def test_a_matrix_of_many_classes_is_left_out() -> None:
    assert "Confusion matrix" in model_card(description([f"c{i}" for i in range(20)]), "m")
    many = model_card(description([f"c{i}" for i in range(21)]), "m")
    assert "Confusion matrix" not in many
    assert "and 1 more" in many
