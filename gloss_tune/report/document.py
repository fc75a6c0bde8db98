"""A study in words and tables, as Markdown; the one text from which the page and the dashboard's note are made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gloss_tune.markdown import escaped, table
from gloss_tune.report.best_setting import best_setting
from gloss_tune.report.facts import Facts
from gloss_tune.report.importances import Importances
from gloss_tune.report.search_charts import MOST_LINES, busy_share
from gloss_tune.spec.layers import to_toml
from gloss_tune.wording import count, duration, exact

_LOSSES = {
    "gloss": "G-Loss",
    "ce": "cross-entropy alone",
    "scl": "supervised contrastive loss",
    "triplet": "batch-all triplet loss",
    "cosine": "cosine loss",
}
_TOP = 10
_MOST_WORKERS = 20
_MOST_REASONS = 5


@dataclass
class Pictures:
    """The pictures of a report by name, in the order in which they were drawn, and why others were not.

    Args:
        drawn: SVG by name.
        missing: reasons by name.
    """

    drawn: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def shown(self, name: str, alt: str) -> str:
        """The picture as Markdown, or else why there is none."""
        if name in self.drawn:
            return f"![{escaped(alt)}](pictures/{name}.svg)"
        return f"*Not drawn: {self.missing.get(name, 'there is nothing to draw yet')}.*"


def report_text(facts: Facts, pictures: Pictures) -> str:
    """The whole report as Markdown."""
    sections = [
        _summary(facts),
        best_setting(facts),
        _confirmation(facts),
        _course(facts, pictures),
        _hyperparameters(facts, pictures),
        _curves(facts, pictures),
        _model(facts, pictures),
        _cost(facts, pictures),
        _failures(facts),
        _again(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def note_text(facts: Facts, pictures: Sequence[str]) -> str:
    """What the dashboard says of the study as a whole.

    Args:
        facts: the study.
        pictures: each as Markdown.
    """
    sections = [_summary(facts), best_setting(facts), _confirmation(facts), *pictures, _again(facts)]
    return "\n\n".join(section for section in sections if section)


def _summary(facts: Facts) -> str:
    opened, counts = facts.opened, facts.counts
    spec, data = opened.spec, opened.dataset
    sizes = ""
    if data.get("n_train"):
        sizes = (
            f" ({data['n_train']:,} documents for training, {data['n_val']:,} for validation, "
            f"{data['n_classes']} classes)"
        )
    ended = counts["complete"] + counts["pruned"] + counts["failed"]
    states = ", ".join(f"{counts[key]} {key}" for key in ("complete", "pruned", "failed") if counts[key])
    parts = [f"# Study {escaped(opened.name)}"]
    if spec.rehearse:
        parts.append("**This is a rehearsal: its trials were simulated, and its results mean nothing.**")
    names = ", ".join(f"`{searched.name}`" for searched in spec.ranges) or "nothing"
    parts.append(
        f"The study fine-tuned {escaped(spec.model)} on {escaped(str(data['name']))}{sizes} by "
        f"{_LOSSES[spec.loss]} and searched {names} for the highest `{spec.metric}`. "
        f"{ended} of {count(counts['budget'], 'trial')} have ended{': ' + states if states else ''}."
    )
    if facts.best is None:
        parts.append("No trial is complete yet, so there is no best setting.")
    else:
        parts.append(_what_was_found(facts))
    return "\n\n".join(parts)


def _what_was_found(facts: Facts) -> str:
    assert facts.best is not None
    return "\n\n".join([_the_best(facts, facts.best), *(f"**{escaped(doubt)}**" for doubt in facts.doubts)])


def _the_best(facts: Facts, exported: Mapping[str, Any]) -> str:
    best, metric = exported["best"], facts.opened.spec.metric
    confirmed = exported.get("confirmed")
    if confirmed is not None:
        return (
            f"**The setting to use is that of trial {best['number']}**: trained again with {confirmed['n']} fresh "
            f"seeds, it reached {metric} {exact(confirmed['mean'])} ± {exact(confirmed['sd'])} (mean ± standard "
            f"deviation). {escaped(confirmed['verdict'])}"
        )
    text = (
        f"**The best is trial {best['number']} with {metric} {exact(best['value'])}.** That is the highest of "
        f"{count(len(facts.complete), 'result')}, each measured once on validation documents; a maximum of noisy "
        "results is on average too high."
    )
    if facts.ranking is None:
        return (
            f"{text} `gloss-tune confirm` trains the best settings again with fresh seeds and says what is left "
            "of it."
        )
    return f"{text} Its confirmation has not finished."


def _confirmation(facts: Facts) -> str:
    if facts.ranking is None:
        return ""
    rows = [
        [
            row["rank"], row["number"], row["n"], f"{exact(row['mean'])} ± {exact(row['sd'])}",
            exact(row["search_value"]), exact(row["difference"]), exact(row["p_value"]),
        ]
        for row in facts.ranking["candidates"]
    ]  # fmt: skip
    header = ["rank", "trial", "n", "mean ± sd", "in the search", "behind the first", "p (Holm)"]
    return "\n\n".join(
        [
            "## Confirmation with fresh seeds",
            table(header, rows, right=range(len(header))),
            f"{escaped(facts.ranking['verdict'])} Candidates are compared over the same seeds by the paired t-test.",
        ]
    )


def _course(facts: Facts, pictures: Pictures) -> str:
    spec = facts.opened.spec
    metric = spec.metric
    parts = [
        "## The course of the search",
        pictures.shown("history", f"{metric} of each trial by its number, and the best so far"),
        "Each point is a trial, the line the best result so far. A line that still rises at the end says that more "
        "trials would help.",
    ]
    top = facts.top(_TOP)
    if top:
        names = [searched.name for searched in spec.ranges]
        rows = [
            [t.number, exact(t.value), *(t.params.get(name) for name in names), t.user_attrs.get("epochs")]
            for t in top
        ]
        parts.append(f"The {len(top)} best complete trials:" if len(top) > 1 else "The only complete trial:")
        parts.append(table(["trial", metric, *names, "epochs"], rows, right=range(len(names) + 3)))
    return "\n\n".join(parts)


def _hyperparameters(facts: Facts, pictures: Pictures) -> str:
    if not facts.opened.spec.ranges:
        return ""
    parts = ["## What the hyperparameters did"]
    parts.append(pictures.shown("importances", "share of the variance that each hyperparameter explains"))
    if facts.importances is not None:
        parts.append(_importances(facts.importances))
    parts.append(pictures.shown("slices", "value against each hyperparameter, later trials darker"))
    parts.append(
        "One point a trial, later ones darker: where dark points gather, the sampler expected the best."
    )
    few = f", of the {MOST_LINES} best" if len(facts.complete) > MOST_LINES else ""
    parts.append(
        pictures.shown(
            "parallel", "one line a trial through its hyperparameters to its value, better ones darker"
        )
    )
    parts.append(
        f"One line a complete trial{few}; the dark ones are the best. Lines that bundle show what good settings share."
    )
    return "\n\n".join(parts)


def _importances(found: Importances) -> str:
    name, share = next(iter(found.shares.items()))
    text = (
        f"`{name}` explains {share:.0%} of the differences between complete trials over the searched ranges. A "
        "hyperparameter without influence here can be fixed, and the trials spent on the others."
    )
    if found.sampled:
        text += f" Estimated from {found.trials} of the {found.of:,} complete trials, drawn at random."
    return text if found.of >= 50 else f"{text} With {found.of} complete trials this is a rough estimate."


def _curves(facts: Facts, pictures: Pictures) -> str:
    spec = facts.opened.spec
    reported = sum(bool(trial.intermediate_values) for trial in facts.trials)
    whose = "every trial" if reported <= MOST_LINES else f"{MOST_LINES} of {reported:,} trials"
    text = f"The `{spec.metric}` of {whose}, epoch by epoch."
    if spec.pruner != "none":
        text += f" The {spec.pruner} pruner stopped the pale ones early."
    return "\n\n".join(
        [
            "## Learning curves",
            pictures.shown("curves", f"{spec.metric} after each epoch of each trial"),
            text,
        ]
    )


def _model(facts: Facts, pictures: Pictures) -> str:
    if facts.best is None or facts.opened.spec.rehearse:
        return ""
    parts = [
        "## The best trial's model",
        pictures.shown("confusion", "validation documents by true and predicted class"),
    ]
    if "confusion" in pictures.drawn:
        parts.append("Validation documents, as the best epoch's model of the best trial classified them.")
    parts.append(
        pictures.shown("map", "embeddings of validation documents before and after tuning, in two dimensions")
    )
    if "map" in pictures.drawn:
        parts.append(
            "Validation documents in two dimensions (t-SNE of the embeddings, cosine distance): what lies together "
            "is alike for the encoder. Distances between groups and their sizes mean little in such a map."
        )
    return "\n\n".join(parts)


def _cost(facts: Facts, pictures: Pictures) -> str:
    cost = facts.cost
    rows: list[list[object]] = [["all finished trials", duration(cost.seconds)]]
    if facts.counts["pruned"]:
        rows.append(["of these, pruned trials", duration(cost.pruned)])
        rows.append(["saved by pruning, at most", duration(cost.saved)])
    if facts.counts["failed"]:
        rows.append(["of these, failed trials", duration(cost.failed)])
    if cost.documents_per_second is not None:
        rows.append(["training, median of the trials", f"{cost.documents_per_second:,.0f} documents/s"])
    busy = busy_share(facts)
    if busy is not None:
        rows.append(["workers' time spent in trials", f"{busy:.0%}"])
    parts = ["## What it cost", table(["device time", ""], rows, right=[1])]
    parts.append(pictures.shown("timeline", "which worker ran which trial when"))
    parts.append(
        "One line a worker, one bar a trial, in the last attempt of each. Gaps are starts of workers, or a machine "
        "that did something else."
    )
    if facts.workers:
        shown = facts.workers[:_MOST_WORKERS]
        parts.append(
            table(
                ["worker", "device", "trials", "time in trials"],
                [[w.name, w.device, w.trials, duration(w.seconds)] for w in shown],
                right=[2, 3],
            )
        )
        if len(facts.workers) > len(shown):
            parts.append(f"And {len(facts.workers) - len(shown)} more workers.")
    if facts.unlike:
        parts.append(f"Machines were unlike: {facts.unlike}.")
    return "\n\n".join(parts)


def _failures(facts: Facts) -> str:
    if not facts.reasons:
        return ""
    rows = [[number, reason[:200]] for reason, number in facts.reasons[:_MOST_REASONS]]
    parts = ["## Failed trials", table(["trials", "reason"], rows, right=[0])]
    if len(facts.reasons) > _MOST_REASONS:
        parts.append(
            f"And {len(facts.reasons) - _MOST_REASONS} more reasons; 'gloss-tune trials' lists them."
        )
    return "\n\n".join(parts)


def _again(facts: Facts) -> str:
    opened = facts.opened
    where = f"--storage {shlex.quote(opened.storage.redacted_url)} --study {opened.name}"
    commands = [f"gloss-tune status {where}", f"gloss-tune export {where} --output best.json"]
    if not opened.spec.rehearse:
        commands.append(f"gloss-tune retrain {where} --output model --seeds 3")
    if opened.confirms is None and facts.ranking is None:
        commands.insert(1, f"gloss-tune confirm {where} --top 3 --seeds 5")
    versions = ", ".join(f"{name} {version}" for name, version in opened.versions.items())
    fingerprints = ""
    if opened.dataset.get("fingerprint"):
        encoder = opened.encoder["fingerprint"]
        fingerprints = f" Data set fingerprint `{opened.dataset['fingerprint']}`, encoder `{encoder}`."
    spec = to_toml(opened.spec.to_dict())
    return "\n\n".join(
        [
            "## To go on, and to do it again",
            "```console\n" + "\n".join(f"$ {command}" for command in commands) + "\n```",
            "The whole specification; `gloss-tune create --spec FILE.toml` makes the same study again:",
            f"```toml\n{spec.strip()}\n```",
            f"Made with {escaped(versions)}.{fingerprints}",
        ]
    )
