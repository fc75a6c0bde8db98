"""Does label propagation on the frozen encoder foretell what training reaches? Recomputed from a study's trials.

python results/2026-11-23_phase0/evidence.py [--trials trials.csv] [--spec spec.json] [--output FOLDER]

Writes scores.csv (each finished trial with its scores before training) and evidence.json (correlations, p, means).
The data set comes from GLOSS_TUNE_DATA, as for gloss-tune itself.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from frozen import FrozenScore, score_settings
from frozen_propagation import FrozenSample, embed_sample, frozen_first_params
from numpy.typing import NDArray
from scipy import stats

from gloss_tune.data import epoch_batches
from gloss_tune.losses import gloss_loss, propagate_labels, random_mask, similarity_graph, transition_matrix
from gloss_tune.seeding import derive_seed
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.inputs import study_dataset

HERE = Path(__file__).parent
EPOCHS = 4
TEMPERATURES = [float(value) for value in np.geomspace(0.01, 2.0, 13)]
ITERATIONS = [1, 2, 5, 10, 22, 50]
#: as many as the shipped score takes its mean over
FEW_ITERATIONS = [1, 7, 50]
#: trials that had finished when ``excess`` was chosen among the scores; the others test it afresh
LOOKED_AT = 15
WINDOWS = {"lr >= 1e-5": (1e-5, 1.0), "1e-5 <= lr <= 3e-4": (1e-5, 3e-4)}
SCORES = ["excess", "excess_mean_k", "accuracy", "accuracy_gap", "gloss", "margin", "gradient"]
PLAIN = ["log_temperature", "log_iterations", "mask_ratio"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=Path, default=HERE / "trials.csv")
    parser.add_argument("--spec", type=Path, default=HERE / "spec.json")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    spec = build_spec(json.loads(options.spec.read_text(encoding="utf-8")))
    data_dir = os.environ.get("GLOSS_TUNE_DATA")
    sample = embed_sample(spec, study_dataset(spec, Path(data_dir) if data_dir else None))

    trials = pd.read_csv(options.trials)
    trials = trials[trials["state"] == "complete"].set_index("number")
    scored = pd.DataFrame([score(spec, sample, trial) for _, trial in trials.iterrows()], index=trials.index)
    scored.round(6).to_csv(options.output / "scores.csv")
    evidence = {
        "trials": len(scored),
        **{f"{name}, all": correlations(scored, *window) for name, window in WINDOWS.items()},
        **{
            f"{name}, trials from {LOOKED_AT} on": correlations(scored.loc[LOOKED_AT:], *window)
            for name, window in WINDOWS.items()
        },
        f"lr >= 1e-5, trials before {LOOKED_AT}": correlations(scored.loc[: LOOKED_AT - 1], 1e-5, 1.0),
        "first trials": first_trials(spec, sample, scored),
    }
    (options.output / "evidence.json").write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    for name, part in evidence.items():
        print(name, part.get("n", "") if isinstance(part, dict) else part)
        if isinstance(part, dict):
            print(pd.DataFrame(part.get("scores", [part])).to_string(index=False))


def score(spec: StudySpec, sample: FrozenSample, trial: pd.Series) -> dict[str, float]:
    """All candidate scores of one trial's setting, each oriented so that higher should be better."""
    ratio, temperature = trial["params_mask_ratio"], trial["params_temperature"]
    steps = int(trial["params_lpa_iterations"])

    def settings(temperatures: list[float], iterations: list[int]) -> list[FrozenScore]:
        return score_settings(
            sample.embeddings,
            torch.from_numpy(sample.labels.copy()),
            batches(spec, sample),
            mask_ratios=[ratio],
            temperatures=temperatures,
            iterations=iterations,
            seed=spec.seed,
        )

    own = settings([temperature], [steps])[0]
    grid = [found for k in ITERATIONS for found in settings(TEMPERATURES, [k])]
    mean_own = settings([temperature], FEW_ITERATIONS)[0]
    mean_grid = settings(TEMPERATURES, FEW_ITERATIONS)
    return {
        "value": trial["value"],
        "learning_rate": trial["params_learning_rate"],
        "mask_ratio": ratio,
        "temperature": temperature,
        "iterations": steps,
        "log_temperature": np.log(temperature),
        "log_iterations": np.log(steps),
        "excess": min(found.loss for found in grid) - own.loss,
        "excess_mean_k": min(found.loss for found in mean_grid) - mean_own.loss,
        "accuracy": own.accuracy,
        "accuracy_gap": own.accuracy - max(found.accuracy for found in grid),
        "gloss": -own.loss,
        **margin_and_gradient(spec, sample, ratio, temperature, steps),
    }


def margin_and_gradient(
    spec: StudySpec, sample: FrozenSample, ratio: float, temperature: float, steps: int
) -> dict[str, float]:
    """Mean of F_u[true class] - F_u[best other one], and the mean norm of G-Loss's gradient in the embeddings."""
    labels = torch.from_numpy(sample.labels.copy())
    classes = int(labels.max()) + 1
    margins, norms = [], []
    for number, batch in enumerate(batches(spec, sample)):
        generator = torch.Generator().manual_seed(derive_seed(spec.seed, "frozen", number))
        masked = random_mask(labels[batch], ratio, generator)
        X = sample.embeddings[batch].double().clone().requires_grad_(True)
        loss = gloss_loss(X, labels[batch], masked, classes, temperature=temperature, iterations=steps)
        (gradient,) = torch.autograd.grad(loss, X)
        norms.append(float(gradient.norm()))
        P = transition_matrix(similarity_graph(X.detach(), temperature))
        F_u = propagate_labels(P, labels[batch], masked, classes, steps)
        true = labels[batch][masked][:, None]
        others = F_u.scatter(1, true, -1.0).max(dim=1).values
        margins.extend((F_u.gather(1, true).squeeze(1) - others).tolist())
    return {"margin": float(np.mean(margins)), "gradient": float(np.mean(norms))}


def batches(spec: StudySpec, sample: FrozenSample) -> list[NDArray[np.int64]]:
    """As training deals them, for a few epochs."""
    size = spec.train["batch_size"]
    return [
        batch
        for epoch in range(EPOCHS)
        for batch in epoch_batches(sample.labels, sample.lengths, size, seed=spec.seed, epoch=epoch)
    ]


def correlations(scored: pd.DataFrame, low: float, high: float) -> dict[str, Any]:
    """For each score: Spearman's correlation with the result, the same less the rate's part, top quarter and rest."""
    kept = scored[scored["learning_rate"].between(low, high)]
    if len(kept) < 8:
        return {"n": len(kept)}
    value, rate = kept["value"].to_numpy(), np.log(kept["learning_rate"].to_numpy())
    adjusted = residual(value, rate) + value.mean()
    rows = []
    for name in [*SCORES, *PLAIN]:
        found = kept[name].to_numpy()
        plain = stats.spearmanr(found, value)
        partial, p = partial_rank_correlation(found, value, rate)
        top = found >= np.quantile(found, 0.75)
        rows.append(
            {
                "score": name,
                "spearman": plain.statistic,
                "p": plain.pvalue,
                "partial": partial,
                "partial_p": p,
                "top_quarter": value[top].mean(),
                "rest": value[~top].mean(),
                "top_adjusted": adjusted[top].mean(),
                "rest_adjusted": adjusted[~top].mean(),
                "mann_whitney_p": stats.mannwhitneyu(adjusted[top], adjusted[~top]).pvalue,
            }
        )
    return {
        "n": len(kept),
        "scores": [
            {k: v if isinstance(v, str) else round(float(v), 4) for k, v in row.items()} for row in rows
        ],
    }


def partial_rank_correlation(
    found: NDArray[np.float64], value: NDArray[np.float64], rate: NDArray[np.float64]
) -> tuple[float, float]:
    """Correlation of the ranks less what a parabola in the rate's rank explains, and its two-sided p-value."""
    ranks = stats.rankdata(rate)
    x, y = residual(stats.rankdata(found), ranks), residual(stats.rankdata(value), ranks)
    r = float(np.corrcoef(x, y)[0, 1])
    freedom = len(found) - 4
    return r, float(2 * stats.t.sf(abs(r) * np.sqrt(freedom / (1 - r * r)), freedom))


def residual(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a parabola in x leaves of y: results rise with the rate and then fall."""
    x = (x - x.mean()) / x.std()
    return y - np.polyval(np.polyfit(x, y, 2), x)


def first_trials(spec: StudySpec, sample: FrozenSample, scored: pd.DataFrame) -> dict[str, Any]:
    """Recorded trials near the three first trials that would be queued, and all: mean and expected best of three."""
    queued = frozen_first_params(spec, sample, 3)
    places = np.array([[np.log10(first["temperature"]), first["mask_ratio"]] for first in queued])
    kept = scored[scored["learning_rate"] >= 1e-5]
    at = np.column_stack([kept["log_temperature"] / np.log(10), kept["mask_ratio"]])
    distance = np.abs(at[:, None, :] - places[None]) / [0.3, 0.2]  # a factor of 2 in τ, 0.2 in the mask ratio
    near = (distance.max(axis=2) <= 1.0).any(axis=1)
    value = kept["value"].to_numpy()
    result: dict[str, Any] = {"queued": json.dumps(queued), "n_all": len(kept), "n_near": int(near.sum())}
    if 3 <= near.sum() < len(kept):
        result |= {
            "mean_all": value.mean(),
            "mean_near": value[near].mean(),
            "mean_others": value[~near].mean(),
            "mann_whitney_p": float(stats.mannwhitneyu(value[near], value[~near]).pvalue),
            "best_of_3_all": expected_best(value, 3),
            "best_of_3_near": expected_best(value[near], 3),
        }
    return result


def expected_best(values: NDArray[np.float64], draws: int) -> float:
    """Mean of the highest of ``draws`` different trials, over all ways to draw them."""
    ordered = np.sort(values)
    n = len(ordered)
    weights = [np.prod([(i - j) / (n - j - 1) for j in range(draws - 1)]) * draws / n for i in range(n)]
    return float(np.dot(weights, ordered))


if __name__ == "__main__":
    main()
