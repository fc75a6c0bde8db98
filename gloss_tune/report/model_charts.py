"""Pictures of one model: which classes it confuses, and how its embeddings lie before and after the tuning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gloss_tune.report.style import GREY, PALETTE, WIDTH, draw, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# with more classes the cells are too small for numbers, and a colour for each cannot be told apart
_MOST_NUMBERED = 20
_MOST_COLOURED = len(PALETTE)
_FEWEST_FOR_TSNE = 30


def confusion(classes: Sequence[str], matrix: NDArray[np.int64]) -> bytes:
    """Documents by true class (rows) and predicted class, each row shaded by its shares.

    Args:
        classes: C names.
        matrix: (C, C) counts.
    """
    size = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)

    def paint(figure: Figure) -> None:
        axes: Axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        names = [shortened(name) for name in classes]
        axes.set_xticks(range(size), names, rotation=0 if size <= 4 else 60, ha="center" if size <= 4 else "right",
                        rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(size), names)
        axes.tick_params(labelsize=9 if size <= _MOST_NUMBERED else 5.5)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.grid(visible=False)
        if size <= _MOST_NUMBERED:
            for row, column in np.ndindex(size, size):
                if matrix[row, column]:
                    axes.text(
                        column, row, f"{matrix[row, column]}", ha="center", va="center",
                        fontsize=9 if size <= 10 else 7, color="white" if shares[row, column] > 0.55 else "black",
                    )  # fmt: skip
        figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.02)

    height = min(1.6 + 0.42 * size + (1.0 if size > 4 else 0.6), WIDTH)
    return draw(height, paint, min(height + 2.4, WIDTH))


def embedding_map(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> bytes:
    """The same documents under the encoder before and after the tuning, side by side, coloured by class.

    Args:
        before: (N, D) embeddings.
        after: (N, D) embeddings of the same documents.
        labels: (N,), indices into ``classes``.
        classes: C names.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    named = (
        np.argsort(-sizes, kind="stable")[:_MOST_COLOURED]
        if len(classes) > _MOST_COLOURED
        else range(len(classes))
    )

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, 2)
        for axes, embeddings, title in zip(grid, (before, after), ("before", "after"), strict=True):
            places = flattened(embeddings)
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[["top", "right"]].set_visible(True)
            others = ~np.isin(labels, list(named))
            if others.any():
                axes.scatter(*places[others].T, s=7, color=GREY, alpha=0.4, linewidths=0,
                             label=f"{len(classes) - len(named)} other classes")  # fmt: skip
            for color, number in zip(PALETTE, named, strict=False):
                own = labels == number
                axes.scatter(
                    *places[own].T,
                    s=9,
                    color=color,
                    alpha=0.7,
                    linewidths=0,
                    label=shortened(classes[number]),
                )
        handles, texts = grid[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=min(len(texts), 5), markerscale=2)

    return draw(4.6 + 0.22 * (min(len(classes), _MOST_COLOURED + 1) // 5), paint)


def flattened(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Embeddings (N, D) in two dimensions, (N, 2), by t-SNE with cosine distance; by PCA where there are few."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    if len(unit) < _FEWEST_FOR_TSNE:
        return np.asarray(PCA(2, random_state=0).fit_transform(unit), dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tsne = TSNE(
            2, metric="cosine", init="pca", perplexity=min(30, len(unit) / 4), random_state=0, n_jobs=1
        )
        return np.asarray(tsne.fit_transform(unit), dtype=np.float64)
