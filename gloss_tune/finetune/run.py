"""What a real and a simulated fine-tune have in common: all that the floors above need to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from gloss_tune.finetune.config import EpochReport


class FinetuneRun(Protocol):
    """One fine-tune, advanced epoch by epoch by whoever iterates over it."""

    @property
    def best(self) -> EpochReport | None:
        """The best epoch so far."""

    def epochs(self) -> Iterator[EpochReport]:
        """Run one epoch for each report, from where the run stands to its end."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on from the last finished epoch, fit for ``save_checkpoint``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: the remaining reports equal those of the uninterrupted run."""
