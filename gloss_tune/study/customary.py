"""What one takes who tunes nothing, by the encoder's size; and the priors that a study has from it.

The learning rates: BERT's authors recommend 5e-5, 3e-5 and 2e-5 for BERT-base (Devlin et al. 2019, appendix A.3),
RoBERTa's 1e-5 to 3e-5 for large encoders (Liu et al. 2019, appendix C), the authors of the compact BERTs 3e-4 to 3e-5
(Turc et al. 2019, section 5). For MiniLM, 1e-4 is also where our own recorded curves have their best
(``results/2026-11-23_curves``). Of the graph, the one tuned point that G-Loss's authors publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.encoder.size import Size, size_by_name, size_of_folder
from gloss_tune.filesystem import expanded
from gloss_tune.logging import logger
from gloss_tune.spec.prior import has_prior
from gloss_tune.spec.ranges import ParameterRange, is_number
from gloss_tune.spec.space import Space
from gloss_tune.spec.spec import StudySpec
from gloss_tune.spec.train import TRAIN_DEFAULTS
from gloss_tune.wording import short

#: The one tuned point that the authors publish (Ohsumed): λ = 0.8, visible fraction γ = 0.7, σ = 0.667.
PUBLISHED = {"gloss_weight": 0.8, "mask_ratio": 0.3, "temperature": 0.667**2}
#: The customary learning rate by the encoder's size, and in how many decades around it the best is expected.
LEARNING_RATES: dict[Size, float] = {"small": 1e-4, "base": 3e-5, "large": 2e-5}
RATE_SPREAD = 0.5
#: The study's user attribute that names the ranges whose prior nobody gave: it is of this table.
SHIPPED_PRIORS = "gloss_tune:shipped_priors"
# to whom draws are left that have nothing to learn from yet; others lay out points of their own
_INFORMED = ("tpe", "gp")


def size_of(spec: StudySpec, encoder: ResolvedEncoder | None) -> Size | None:
    """The size of a study's encoder, by its files or else by its name; None where neither says."""
    if encoder is not None:
        return size_of_folder(encoder.path)
    folder = expanded(spec.model)
    return size_of_folder(folder) if folder.is_dir() else size_by_name(spec.model)


def customary(spec: StudySpec, size: Size | None) -> dict[str, Any]:
    """The setting of one who tunes nothing, as far as it is searched: a range's prior, or else custom."""
    usual = {name: value for name, value in TRAIN_DEFAULTS.items() if is_number(value)}
    usual |= {**PUBLISHED, "learning_rate": LEARNING_RATES[size or "base"]}
    given = {searched.name: searched.prior for searched in spec.ranges if searched.prior is not None}
    return {**clipped(spec, usual), **given}


def clipped(spec: StudySpec, params: dict[str, float]) -> dict[str, Any]:
    """Only what is searched, moved to the nearest value of its range."""
    nearest = {name: spec.space[name].nearest(value) for name, value in params.items() if name in spec.space}
    return {name: value for name, value in nearest.items() if value is not None}


def with_priors(spec: StudySpec, size: Size | None, *, first: bool = True) -> tuple[StudySpec, list[str]]:
    """A specification with the priors that nobody gave; where it has any, it begins with the customary setting.

    Args:
        spec: as the user has it. Ranges that hold no customary value get no prior, nor do samplers that lay out points
            of their own.
        size: of the encoder; None for no priors but the given ones.
        first: whether it may begin with the customary setting, unless it says otherwise.

    Returns:
        The specification, and the names of the ranges that got a prior here.
    """
    shipped: list[str] = []
    ranges = []
    for searched in spec.ranges:
        found = _with_prior(searched, size) if spec.priors and spec.sampler in _INFORMED else searched
        shipped += [searched.name] if found is not searched else []
        ranges.append(found)
    changed: dict[str, Any] = {"space": Space(tuple(ranges))} if shipped else {}
    if first and not spec.first_trials and has_prior(ranges):
        changed["first_trials"] = ("customary",)
    return (spec.model_copy(update=changed) if changed else spec), shipped


def say_priors(spec: StudySpec, shipped: Sequence[str]) -> None:
    """One line of the priors that nobody gave, and how to do without."""
    for searched in (spec.space[name] for name in shipped):
        logger.info(
            "%s: the first trial has %s, customary for an encoder of this size, and the next ones are drawn around it; "
            "--no-priors draws evenly, --set space.%s.prior=… names another value.",
            searched.name,
            short(searched.prior),
            searched.name,
        )


def _with_prior(searched: ParameterRange, size: Size | None) -> ParameterRange:
    if searched.name != "learning_rate" or size is None or searched.prior is not None:
        return searched
    rate = LEARNING_RATES[size]
    if searched.choices is not None or not searched.log or not searched.contains(rate):
        return searched
    return replace(searched, prior=rate, spread=RATE_SPREAD)
