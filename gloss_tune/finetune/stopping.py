"""Which epoch is the best so far, and when to stop waiting for a better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gloss_tune.finetune.config import EpochReport


@dataclass
class EarlyStopping:
    """Keeps the best epoch by one metric: only a strictly greater value replaces it.

    Args:
        metric: name of the metric, higher is better.
        patience: epochs in a row without a better one after which ``exhausted`` is true.
    """

    metric: str
    patience: int
    epoch: int = field(default=0, init=False)
    best: EpochReport | None = field(default=None, init=False)

    def update(self, metrics: Mapping[str, float]) -> EpochReport:
        """Count one more epoch; returns its report."""
        self.epoch += 1
        best_value = float("nan") if self.best is None else self.best.metrics[self.metric]
        value = metrics[self.metric]
        # not-a-number (a silhouette of one class) never replaces a number, and any number replaces it
        is_best = self.best is None or value > best_value or (best_value != best_value and value == value)
        report = EpochReport(self.epoch, dict(metrics), is_best)
        if is_best:
            self.best = report
        return report

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.best is not None and self.epoch - self.best.epoch >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, fit for JSON."""
        best = None if self.best is None else {"epoch": self.best.epoch, "metrics": dict(self.best.metrics)}
        return {"epoch": self.epoch, "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        best = state["best"]
        self.epoch = int(state["epoch"])
        self.best = None if best is None else EpochReport(int(best["epoch"]), dict(best["metrics"]), True)
