"""The paper's protocol as a list of studies: data sets × encoders × losses at equal budgets, as small as one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gloss_tune.errors import SpecError
from gloss_tune.paper.numbers import DATASETS, published
from gloss_tune.spec.build import build_spec, fitted_to
from gloss_tune.spec.layers import read_toml
from gloss_tune.spec.shipped import find_spec
from gloss_tune.spec.spec import StudySpec, default_study_name

LOSSES = ("ce", "scl", "gloss")
ENCODERS = ("bert-base-uncased",)
MODES = ("integrated", "standalone")
# the paper says nothing of the supervised contrastive loss's own temperature
_LAYERS: dict[str, dict[str, Any]] = {"scl": {"space": {"temperature": {"low": 0.01, "high": 2.0}}}}


@dataclass(frozen=True)
class Cell:
    """One study of the protocol.

    Args:
        name: of the study, which tells it from all others.
        spec: its specification.
        dataset: as it was asked for: a name or a path.
        encoder: likewise.
        mode: ``integrated`` or ``standalone``.
        loss: ``gloss``, ``ce`` …
    """

    name: str
    spec: StudySpec
    dataset: str
    encoder: str
    mode: str
    loss: str

    @property
    def published(self) -> tuple[float, float | None] | None:
        """The paper's number for it, see :func:`gloss_tune.paper.numbers.published`."""
        return published(self.encoder, self.mode, self.loss, self.dataset)


def plan(
    datasets: Sequence[str],
    losses: Sequence[str],
    encoders: Sequence[str],
    modes: Sequence[str],
    overrides: Mapping[str, Any],
    prefix: str = "paper",
) -> list[Cell]:
    """Every study of the protocol, in the order in which they run.

    Args:
        datasets: of the paper by name, or others, which get the budget of ``mr``.
        losses: of these.
        encoders: Hub names or folders.
        modes: of these; cross-entropy alone has no standalone mode and is left out there.
        overrides: a layer over all specifications, such as ``{"trials": 4, "train": {"epochs": 2}}``.
        prefix: of all names.

    Raises:
        SpecError: a specification is wrong; all faults of the first wrong one.
    """
    faults = [
        f"{what}: nothing was named; name at least one"
        for what, given in (
            ("datasets", datasets),
            ("losses", losses),
            ("encoders", encoders),
            ("modes", modes),
        )
        if not given
    ]
    if faults:
        raise SpecError(faults)
    cells = []
    for mode in modes:
        for dataset in datasets:
            base = read_toml(find_spec(f"paper/{dataset if dataset in DATASETS else 'mr'}"))
            for encoder in encoders:
                for loss in losses:
                    if mode == "standalone" and loss == "ce":
                        continue
                    own = {"dataset": dataset, "model": encoder, "loss": loss, "mode": mode}
                    spec = build_spec(fitted_to(base, loss, mode), _LAYERS.get(loss, {}), own, overrides)
                    name = f"{prefix}-{default_study_name(spec)}"[:190]
                    cells.append(Cell(name, spec, dataset, encoder, mode, loss))
    return cells
