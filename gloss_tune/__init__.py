"""Tune the hyperparameters of graph-driven (G-Loss) fine-tuning of sentence encoders for text classification.

``create_study(dataset=…, trials=…)`` makes a study, ``open_study(name)`` finds one, ``list_studies()`` all;
``load_classifier(folder).predict(texts)`` classifies with a model that ``gloss-tune retrain`` wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gloss_tune.api import Study, create_study, list_studies, open_study
    from gloss_tune.finetune.classifier import load_classifier

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "create_study", "list_studies", "load_classifier", "open_study"]

# loaded when first asked for: this package alone imports nothing heavy
_ELSEWHERE = {
    "load_classifier": "gloss_tune.finetune.classifier",
    **dict.fromkeys(("Study", "create_study", "list_studies", "open_study"), "gloss_tune.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ELSEWHERE[name]), name)
