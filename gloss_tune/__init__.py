"""Tune the hyperparameters of graph-driven (G-Loss) fine-tuning of sentence encoders for text classification.

``load_classifier(folder).predict(texts)`` classifies with a model that ``gloss-tune retrain`` wrote.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_classifier"]

# loaded when first asked for: this package alone imports nothing heavy
_ELSEWHERE = {"load_classifier": "gloss_tune.finetune.classifier"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ELSEWHERE[name]), name)
