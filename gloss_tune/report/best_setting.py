"""The best setting of a study: what was searched, where good values were expected, and where the best was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gloss_tune.markdown import table
from gloss_tune.report.facts import Facts
from gloss_tune.spec.prior import default_spread, offset
from gloss_tune.spec.ranges import ParameterRange, Value
from gloss_tune.wording import exact, short


def best_setting(facts: Facts) -> str:
    """A section of the report; empty while there is no best."""
    if facts.best is None:
        return ""
    best, spec = facts.best["best"], facts.opened.spec
    ranges = {searched.name: searched for searched in spec.ranges}
    rows = []
    for name in best["searched"]:
        searched = ranges[name]
        end = facts.at_edge.get(name)
        edge = f"at the {end} end" if end else ""
        rows.append([name, best["params"].get(name), _searched(searched), prior_text(searched), edge])
    parts = [f"## The best setting: trial {best['number']}"]
    if rows:
        parts.append(table(["hyperparameter", "best", "searched", "prior", ""], rows, right=[1]))
    if found := findings(spec.ranges, best["params"]):
        parts.append(found)
    if facts.at_edge:
        listed = ", ".join(f"`{name}`" for name in facts.at_edge)
        verb = "lies" if len(facts.at_edge) == 1 else "lie"
        parts.append(
            f"{listed} {verb} at an end of the searched range: a wider one may hold a better setting "
            f"(`--set space.{next(iter(facts.at_edge))}.{next(iter(facts.at_edge.values()))}=…` in a new study)."
        )
    metrics = {name: best["metrics"][name] for name in sorted(best["metrics"]) if name.startswith("val_")}
    if metrics:
        parts.append(
            f"In its best epoch, number {best['epoch']}: "
            + ", ".join(f"`{name}` {exact(value)}" for name, value in metrics.items())
            + "."
        )
    return "\n\n".join(parts)


def prior_text(searched: ParameterRange) -> str:
    """A range's prior in a few words; empty where it has none."""
    if searched.prior is None:
        return ""
    spread = default_spread(searched) if searched.spread is None else searched.spread
    if searched.choices is not None:
        return f"{short(searched.prior)}, others {spread:.0%}"
    unit = "decades" if searched.log else "of the range"
    return f"{short(searched.prior)} ± {spread:g} {unit}"


def findings(ranges: Sequence[ParameterRange], best: Mapping[str, Value]) -> str:
    """Of each prior, whether the best value lies where it was expected; empty without priors."""
    sentences = []
    for searched in (one for one in ranges if one.prior is not None and one.name in best):
        value = best[searched.name]
        far = offset(searched, value)
        expected = f"`{searched.name}` was expected at {short(searched.prior)}; the best has {short(value)}"
        if far is None:
            sentences.append(
                expected + (", as expected." if value == searched.prior else ", another choice.")
            )
        elif abs(far) < 1e-9:
            sentences.append(f"{expected}, as expected.")
        else:
            side = "above" if far > 0 else "below"
            verdict = "within the spread" if abs(far) <= 1 else "outside the spread"
            doubt = " The prior was off: name this value in a new study." if abs(far) > 2 else ""
            sentences.append(f"{expected}, {abs(far):.1f} spreads {side}: {verdict}.{doubt}")
    return " ".join(sentences)


def _searched(searched: ParameterRange) -> str:
    if searched.choices is not None:
        return ", ".join(map(str, searched.choices))
    return f"{short(searched.low)} – {short(searched.high)}{', log' if searched.log else ''}"
