"""What pruning saves: studies replayed from recorded learning curves of real trials.

The curves are those of random trials, trained to the end (``results/*_curves``). A replay walks through them in an
order drawn by its seed and asks Optuna's pruner, as a worker does, after every epoch; what a trial costs is the epochs
it was let run. Random search is the same walk without a pruner, so that both see the same trials.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState

from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.samplers import build_pruner
from tests.benchmarks.table import Row

RESULTS = Path(__file__).resolve().parents[2] / "results"
SEEDS = range(20)
TRIALS = 30
PRUNERS = ("median", "hyperband")

#: one score an epoch
Curve = Sequence[float]


@dataclass(frozen=True)
class Replay:
    """One study, replayed.

    Args:
        costs: epochs that were paid when each trial had ended.
        bests: the best score of a complete trial so far, minus infinity before the first.
    """

    costs: list[int]
    bests: list[float]

    def cost_to_reach(self, score: float) -> int | None:
        """Epochs until a complete trial had that score; None if none did."""
        return next((c for c, best in zip(self.costs, self.bests, strict=True) if best >= score), None)

    def best_within(self, epochs: int) -> float:
        """The best score for that many epochs."""
        return max(
            (best for c, best in zip(self.costs, self.bests, strict=True) if c <= epochs),
            default=float("-inf"),
        )


def rows(quick: bool) -> list[Row]:
    """Cost and outcome of each pruner against random search; the same with ``quick``, since nothing is trained.

    Raises:
        FileNotFoundError: no recorded curves are there.
    """
    file = recorded()
    if file is None:
        raise FileNotFoundError("no recorded curves (results/*_curves/curves.json)")
    found = json.loads(file.read_text(encoding="utf-8"))
    curves = [trial["scores"] for trial in found["trials"]]
    seeds = SEEDS[:2] if quick else SEEDS
    table = []
    for pruner in PRUNERS:
        spec = build_spec(
            {"dataset": found["dataset"], "pruner": pruner, "train": {"epochs": len(curves[0])}}
        )
        costs, random_costs, scores, random_scores, reached = [], [], [], [], []
        for seed in seeds:
            order = random.Random(seed).sample(curves, len(curves))
            unpruned, pruned = replay(order, None, seed), replay(order, spec, seed)
            goal = unpruned.bests[TRIALS - 1]
            first, found_it = unpruned.cost_to_reach(goal), pruned.cost_to_reach(goal)
            assert first is not None
            random_costs.append(first)
            # never reached: all that the recorded trials cost, which is less than it would have taken
            costs.append(found_it or pruned.costs[-1])
            reached.append(float(found_it is not None))
            random_scores.append(goal)
            scores.append(pruned.best_within(unpruned.costs[TRIALS - 1]))
        peer = f"random search, {TRIALS} trials"
        what = f"{found['dataset']}, {len(curves)} recorded trials, {pruner}"
        saved = [statistics.mean(costs)], [statistics.mean(random_costs)]
        table += [
            Row(
                "pruning",
                f"{what}: to random search's best score, mean",
                "epochs",
                saved[0],
                peer,
                saved[1],
                "below 1",
            ),
            Row("pruning", f"{what}: reached it", "of orders", [statistics.mean(reached)], "all", [1.0], "1"),
            Row(
                "pruning",
                f"{what}: best score at equal cost",
                "macro-F1",
                scores,
                peer,
                random_scores,
                "at least 1",
            ),
        ]
    return table


def recorded() -> Path | None:
    """The latest file of recorded curves, None if there is none."""
    return max(RESULTS.glob("*_curves/curves.json"), default=None)


def replay(curves: Sequence[Curve], spec: StudySpec | None, seed: int) -> Replay:
    """A study over these trials in this order.

    Args:
        curves: one a trial.
        spec: names the pruner; None to run every trial to its end.
        seed: of hyperband's brackets, which it deals by the study's name.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.NopPruner() if spec is None else build_pruner(spec)
    study = optuna.create_study(
        study_name=f"replay-{seed}",
        direction="maximize",
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    costs, bests, paid, best = [], [], 0, float("-inf")
    for curve in curves:
        trial = study.ask()
        pruned = False
        for epoch, score in enumerate(curve, start=1):
            paid += 1
            trial.report(score, step=epoch)
            if pruned := trial.should_prune():
                break
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, max(curve))
            best = max(best, max(curve))
        costs.append(paid)
        bests.append(best)
    return Replay(costs, bests)
