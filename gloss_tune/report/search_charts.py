"""Pictures of a search: its course, what its hyperparameters did, its learning curves, its workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.report.facts import Facts, position, seconds_of
from gloss_tune.report.style import (
    BLUE,
    GREY,
    MANY,
    ORANGE,
    RED,
    STATE_COLORS,
    draw,
    focused,
    one_axes,
    plain_log_ticks,
    say_cut_off,
    shortened,
    visible_blues,
    whole_numbers,
)
from gloss_tune.spec.ranges import ParameterRange

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LANES = 24
#: No picture has more lines.
MOST_LINES = 400


def history(facts: Facts) -> bytes:
    """Each trial's value by its number, and the best so far."""

    def paint(figure: Figure) -> None:
        axes = one_axes(figure, "trial", facts.opened.spec.metric)
        many = len(facts.trials) > MANY
        for state, label, marker in (
            (TrialState.COMPLETE, "complete", "o"),
            (TrialState.PRUNED, "pruned, last value", "X"),
        ):
            own = [trial for trial in facts.finished if trial.state == state]
            if own:
                axes.scatter(
                    [trial.number for trial in own], [_of(trial) for trial in own], s=30, marker=marker,
                    color=STATE_COLORS[state.name.lower()], alpha=0.85, linewidths=0, label=label, rasterized=many,
                )  # fmt: skip
        low, high = focused([_of(trial) for trial in facts.finished])
        failed = [trial.number for trial in facts.trials if trial.state == TrialState.FAIL]
        if failed:
            axes.scatter(
                failed, [low] * len(failed), s=40, marker="|", color=RED, label="failed", clip_on=False
            )
        if facts.complete:
            numbers = [trial.number for trial in facts.complete]
            best = np.maximum.accumulate([_of(trial) for trial in facts.complete])
            axes.step(
                [*numbers, facts.trials[-1].number], [*best, best[-1]], where="post", color=BLUE,
                linewidth=1.4, label="best so far",
            )  # fmt: skip
        axes.set_ylim(low, high)
        say_cut_off(axes, [_of(trial) for trial in facts.finished], low)
        whole_numbers(axes.xaxis)
        _legend(figure, axes)

    return draw(3.6, paint)


def learning_curves(facts: Facts, best: int | None) -> bytes:
    """The study's metric after each epoch: the best trial in front, others behind, pruned ones dimmed."""

    def paint(figure: Figure) -> None:
        axes = one_axes(figure, "epoch", facts.opened.spec.metric)
        curves = [(trial, _curve(trial)) for trial in facts.trials if trial.intermediate_values]
        # the best last, so that it lies on top
        order = {TrialState.PRUNED: 1, TrialState.COMPLETE: 2}
        if len(curves) > MOST_LINES:  # spread over all trials, of whatever state
            places = {round(place) for place in np.linspace(0, len(curves) - 1, MOST_LINES)}
            curves = [pair for place, pair in enumerate(curves) if place in places or pair[0].number == best]
        curves.sort(key=lambda pair: (pair[0].number == best, order.get(pair[0].state, 0), _of(pair[0])))
        seen: set[str] = set()
        for trial, (epochs, values) in curves:
            label, style = _curve_style(trial, best)
            axes.plot(epochs, values, label=None if label in seen else label, **style)
            seen.add(label)
        drawn = [value for _, (_, values) in curves for value in values]
        low, high = focused(drawn)
        axes.set_ylim(low, high)
        say_cut_off(axes, drawn, low, "value")
        whole_numbers(axes.xaxis)
        _legend(figure, axes)

    return draw(3.6, paint)


def importances(facts: Facts) -> bytes:
    """How much of the values' variance each hyperparameter explains."""
    assert facts.importances is not None
    shares = facts.importances.shares

    def paint(figure: Figure) -> None:
        axes = one_axes(figure, "share of the variance between trials (fANOVA)", "")
        names = list(shares)[::-1]
        bars = axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.62)
        axes.bar_label(bars, fmt=lambda share: f"{share:.0%}", padding=4)
        axes.set_xlim(0, max(shares.values()) * 1.12)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="y")

    return draw(0.9 + 0.34 * len(shares), paint)


def slices(facts: Facts) -> bytes:
    """Values against each searched hyperparameter by itself, later trials darker."""
    ranges = facts.opened.spec.ranges
    columns = 2 if len(ranges) in (2, 4) else min(len(ranges), 3)
    rows = math.ceil(len(ranges) / columns)

    def paint(figure: Figure) -> None:
        limits = focused([_of(trial) for trial in facts.finished])
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place >= len(ranges):
                axes.set_visible(False)
                continue
            points = _slice(axes, ranges[place], facts)
            axes.set_ylim(*limits)
            own = [_of(trial) for trial in facts.finished if ranges[place].name in trial.params]
            say_cut_off(axes, own, limits[0])
            if place % columns == 0:
                axes.set_ylabel(facts.opened.spec.metric)
        bar = figure.colorbar(points, ax=grid, label="trial", aspect=30 * rows, pad=0.01)
        whole_numbers(bar.ax.yaxis)

    return draw(0.5 + 2.5 * rows, paint)


def parallel_coordinates(facts: Facts) -> bytes:
    """One line a complete trial through all its hyperparameters to its value, the better the darker."""
    ranges = facts.opened.spec.ranges
    trials = sorted(facts.complete, key=_of)[-MOST_LINES:]
    low, high = focused([_of(trial) for trial in trials])

    def paint(figure: Figure) -> None:
        import matplotlib
        from matplotlib.colors import Normalize

        axes: Axes = figure.add_subplot()
        color = matplotlib.colormaps["viridis_r"]
        scale = Normalize(low, high)
        for trial in trials:
            heights = [_height(searched, trial) for searched in ranges]
            value = min(max((_of(trial) - low) / (high - low), 0.0), 1.0)
            axes.plot(
                [*heights, value], color=color(scale(_of(trial))), linewidth=1.3,
                alpha=max(0.25, min(0.9, 20 / len(trials))), solid_joinstyle="round",
            )  # fmt: skip
        for place, searched in enumerate(ranges):
            axes.axvline(place, color=GREY, linewidth=0.8)
            for at, text in _marks(searched):
                axes.annotate(
                    text, (place, at), xytext=(4, 0), textcoords="offset points", fontsize=8,
                    va="center", bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.8, "linewidth": 0},
                )  # fmt: skip
        axes.set_xlim(-0.1, len(ranges) + 0.02)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xticks(range(len(ranges) + 1), [*(r.name for r in ranges), facts.opened.spec.metric])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.spines["right"].set_visible(True)
        axes.yaxis.tick_right()
        marks = np.linspace(0, 1, 6)
        labels = [f"{low + mark * (high - low):.3f}" for mark in marks]
        cut_off = any(_of(trial) < low for trial in trials)
        axes.set_yticks(marks, [f"≤ {labels[0]}" if cut_off else labels[0], *labels[1:]])

    return draw(4.0, paint)


def timeline(facts: Facts) -> bytes:
    """Which worker ran which trial when; the last attempt of each trial."""
    ran = [t for t in facts.trials if t.datetime_start is not None and t.datetime_complete is not None]
    begin = min(t.datetime_start.timestamp() for t in ran if t.datetime_start is not None)
    names = list(dict.fromkeys(str(t.user_attrs.get("worker", "?")) for t in ran))
    lanes = {name: min(lane, _MOST_LANES - 1) for lane, name in enumerate(names)}
    span = max(t.datetime_complete.timestamp() for t in ran if t.datetime_complete is not None) - begin
    unit, label = (
        (1.0, "seconds") if span < 300 else (60.0, "minutes") if span < 3 * 3600 else (3600.0, "hours")
    )

    def paint(figure: Figure) -> None:
        axes = one_axes(figure, f"{label} since the first trial started", "")
        bars: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for trial in ran:
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            start = trial.datetime_start.timestamp() - begin
            width = max(trial.datetime_complete.timestamp() - begin - start, 0.0)
            lane = lanes[str(trial.user_attrs.get("worker", "?"))]
            bars.setdefault((lane, trial.state.name.lower()), []).append((start / unit, width / unit))
            if width > 0.035 * span:
                axes.text(
                    (start + width / 2) / unit, lane, str(trial.number), ha="center", va="center",
                    color="white", fontsize=8, zorder=3,
                )  # fmt: skip
        seen: set[str] = set()
        for (lane, state), own in bars.items():
            axes.broken_barh(
                own, (lane - 0.35, 0.7), color=STATE_COLORS.get(state, GREY), edgecolor="white",
                linewidth=0.6 if len(ran) <= MANY else 0.0, rasterized=len(ran) > MANY,
                label=None if state in seen else state.replace("fail", "failed"),
            )  # fmt: skip
            seen.add(state)
        shown = names[:_MOST_LANES]
        labels = [shortened(name, 26) for name in shown]
        if len(names) > _MOST_LANES:
            labels[-1] = f"{len(names) - _MOST_LANES + 1} more workers"
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        _legend(figure, axes)

    return draw(1.1 + 0.34 * min(len(names), _MOST_LANES), paint)


def _of(trial: FrozenTrial) -> float:
    return -math.inf if trial.value is None else trial.value


def _curve(trial: FrozenTrial) -> tuple[list[int], list[float]]:
    epochs = sorted(trial.intermediate_values)
    return epochs, [trial.intermediate_values[epoch] for epoch in epochs]


def _curve_style(trial: FrozenTrial, best: int | None) -> tuple[str, dict[str, Any]]:
    if trial.number == best:
        return f"trial {best}, the best", {"color": RED, "linewidth": 2.2, "marker": "o", "markersize": 4}
    if trial.state == TrialState.PRUNED:
        return "pruned", {"color": ORANGE, "linewidth": 1.0, "alpha": 0.35, "marker": ".", "markersize": 3}
    if trial.state == TrialState.COMPLETE:
        return "complete", {"color": BLUE, "linewidth": 1.0, "alpha": 0.7, "marker": ".", "markersize": 3}
    return "failed or unfinished", {"color": GREY, "linewidth": 1.0, "alpha": 0.4, "linestyle": ":"}


def _legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 5))


def _slice(axes: Axes, searched: ParameterRange, facts: Facts) -> Any:
    own = [trial for trial in facts.finished if searched.name in trial.params]
    x: list[Any] = [trial.params[searched.name] for trial in own]
    if searched.choices is not None:
        names = [str(choice) for choice in searched.choices]
        x = [names.index(str(value)) for value in x]
        axes.set_xticks(range(len(names)), [shortened(name, 12) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        if searched.log:
            axes.set_xscale("log")
        assert searched.low is not None
        assert searched.high is not None
        axes.set_xlim(*_widened(searched))
        if searched.log:
            plain_log_ticks(axes.xaxis)
    axes.set_xlabel(searched.name)
    return axes.scatter(
        x, [_of(trial) for trial in own], c=[trial.number for trial in own], s=26, cmap=visible_blues(),
        vmin=0, vmax=max(len(facts.trials) - 1, 1), linewidths=0.4,
        edgecolors="#5f7f9f", rasterized=len(own) > MANY,
    )  # fmt: skip


def _widened(searched: ParameterRange) -> tuple[float, float]:
    """The range and a little more, so that points at its ends are whole."""
    assert searched.low is not None
    assert searched.high is not None
    if searched.log:
        factor = (searched.high / searched.low) ** 0.04
        return searched.low / factor, searched.high * factor
    margin = 0.04 * (searched.high - searched.low) or 0.5
    return searched.low - margin, searched.high + margin


def _height(searched: ParameterRange, trial: FrozenTrial) -> float:
    value = trial.params.get(searched.name)
    if value is None:
        return math.nan
    if searched.choices is not None:
        names = [str(choice) for choice in searched.choices]
        return names.index(str(value)) / max(len(names) - 1, 1)
    return position(searched, value) or 0.0


def _marks(searched: ParameterRange) -> list[tuple[float, str]]:
    """Where a vertical axis is labelled, from 0 to 1."""
    if searched.choices is not None:
        last = max(len(searched.choices) - 1, 1)
        return [(i / last, shortened(str(choice), 12)) for i, choice in enumerate(searched.choices)]
    assert searched.low is not None
    assert searched.high is not None
    if searched.log:
        values = [searched.low * (searched.high / searched.low) ** (i / 4) for i in range(5)]
    else:
        values = [searched.low + (searched.high - searched.low) * i / 4 for i in range(5)]
    return [(i / 4, f"{value:.2g}") for i, value in enumerate(values)]


def busy_share(facts: Facts) -> float | None:
    """Part of the workers' time between their first and last trial in which they ran one; None without times."""
    spans: dict[str, list[float]] = {}
    busy = 0.0
    for trial in facts.trials:
        if trial.datetime_start is None or trial.datetime_complete is None:
            continue
        times = spans.setdefault(str(trial.user_attrs.get("worker", "?")), [])
        times += [trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()]
        busy += seconds_of(trial)
    there = sum(max(times) - min(times) for times in spans.values())
    return min(busy / there, 1.0) if there > 0 else None


def top_curve(trials: Sequence[FrozenTrial], metric: str) -> bytes:
    """Learning curves of a few trials, each with its name."""

    def paint(figure: Figure) -> None:
        axes = one_axes(figure, "epoch", metric)
        for trial in trials:
            epochs, values = _curve(trial)
            axes.plot(epochs, values, marker="o", markersize=4, label=f"trial {trial.number}")
        whole_numbers(axes.xaxis)
        _legend(figure, axes)

    return draw(3.2, paint)
