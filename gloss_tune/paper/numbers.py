"""Published test accuracies, to print beside one's own.

Source: Sharma, Agarwal, Kumar, "G-Loss: Graph-Guided Fine-Tuning of Language Models", arXiv 2604.25853, the tables of
test accuracy in integrated and standalone mode; mean and standard deviation over 3 seeds. G-Loss is there G-Loss-O,
whose σ Optuna tuned; ``scl`` and ``gloss`` are trained together with cross-entropy.
"""

from __future__ import annotations

#: In the order of the paper's columns.
DATASETS = ("mr", "r8", "r52", "20ng", "ohsumed")

# (encoder, mode, loss) → a cell a data set: percent, mean and standard deviation where one was published
_INTEGRATED = {
    ("bert-base-uncased", "ce"): "85.64±.81 97.57±.16 96.29±.15 83.98±.12 71.09±.31",
    ("bert-base-uncased", "scl"): "85.97±.50 97.88±.17 96.18±.14 84.39±.10 71.28±.17",
    ("bert-base-uncased", "gloss"): "86.63±.12 97.91±.20 96.37±.40 84.71±.24 71.25±.59",
    ("distilbert-base-uncased", "ce"): "84.85±.23 97.48±.11 95.78±.04 83.15±.61 69.50±.34",
    ("distilbert-base-uncased", "scl"): "84.16±.46 97.65±.25 96.17±.10 83.49±.20 70.02±.35",
    ("distilbert-base-uncased", "gloss"): "85.10±.45 97.71±.12 96.07±.04 83.64±.28 70.16±.21",
    ("roberta-large", "ce"): "89.92±1.07 97.75±.20 95.91±.56 84.89±.36 75.03±.24",
    ("roberta-large", "gloss"): "90.87±.62 97.49±.05 96.44±.63 85.19±.31 75.35±.42",
}
_STANDALONE = {("bert-base-uncased", "gloss"): "86.22 97.83 95.79 84.94 70.25"}


def published(encoder: str, mode: str, loss: str, dataset: str) -> tuple[float, float | None] | None:
    """Test accuracy in percent, mean and standard deviation (None where none was published).

    Args:
        encoder: its name on the Hub.
        mode: ``integrated`` or ``standalone``.
        loss: ``gloss``, ``ce`` or ``scl``.
        dataset: one of :data:`DATASETS`.

    Returns:
        None where the paper has no such number.
    """
    table = _INTEGRATED if mode == "integrated" else _STANDALONE
    row = table.get((encoder.rsplit("/", 1)[-1].lower(), loss))
    if row is None or dataset not in DATASETS:
        return None
    mean, _, sd = row.split()[DATASETS.index(dataset)].partition("±")
    return float(mean), float(sd) if sd else None
