from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.semi_supervised import LabelPropagation
from torch import Tensor

from gloss_tune.losses import NORMALIZATIONS, propagate_labels, similarity_graph, transition_matrix


def _case(B: int = 14, C: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(B, 6, dtype=torch.float64, generator=generator)
    labels = torch.arange(B) % C
    masked = torch.zeros(B, dtype=torch.bool)
    masked[torch.randperm(B - C, generator=generator)[: B // 2] + C] = True  # the first C stay visible
    return similarity_graph(X, 0.3), labels, masked


def _loops(
    P: list[list[float]], labels: list[int], masked: list[bool], C: int, iterations: int
) -> list[list[float]]:
    n = len(P)
    hidden = [i for i in range(n) if masked[i]]
    F = [[0.0 if masked[i] else float(labels[i] == c) for c in range(C)] for i in range(n)]
    for _ in range(iterations):
        step = {i: [sum(P[i][j] * F[j][c] for j in range(n)) for c in range(C)] for i in hidden}
        for i in hidden:
            F[i] = step[i]
    return [[value / sum(F[i]) for value in F[i]] for i in hidden]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_agrees_with_explicit_loops(normalization: str, iterations: int) -> None:
    W, labels, masked = _case()
    P = transition_matrix(W, normalization)
    F_u = propagate_labels(P, labels, masked, 3, iterations)
    expected = _loops(P.tolist(), labels.tolist(), masked.tolist(), 3, iterations)
    torch.testing.assert_close(F_u, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_closed_form_agrees_with_scikit_learn(seed: int) -> None:
    W, labels, masked = _case(B=30, C=4, seed=seed)
    oracle = LabelPropagation(kernel=lambda left, right: W.numpy().copy(), max_iter=100_000, tol=1e-14)
    oracle.fit(np.zeros((30, 1)), np.where(masked.numpy(), -1, labels.numpy()))
    F_u = propagate_labels(transition_matrix(W), labels, masked, 4, iterations=None)
    np.testing.assert_allclose(F_u.numpy(), oracle.label_distributions_[masked.numpy()], rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_many_steps_approach_the_closed_form(normalization: str) -> None:
    W, labels, masked = _case(B=40, C=5, seed=1)
    P = transition_matrix(W, normalization)
    closed = propagate_labels(P, labels, masked, 5, None)
    errors = [
        float((propagate_labels(P, labels, masked, 5, steps) - closed).abs().max()) for steps in (1, 10, 400)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 1e-3
    assert errors[2] < 1e-10


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", [1, 5, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_probabilities(normalization: str, iterations: int | None, dtype: torch.dtype) -> None:
    W, labels, masked = _case(B=50, C=7)
    F_u = propagate_labels(transition_matrix(W.to(dtype), normalization), labels, masked, 7, iterations)
    assert F_u.dtype == dtype
    assert F_u.shape == (int(masked.sum()), 7)
    assert (F_u >= 0).all()
    torch.testing.assert_close(F_u.sum(dim=1), torch.ones(len(F_u), dtype=dtype))


@pytest.mark.parametrize("iterations", [3, None])
def test_permuting_documents_permutes_rows(iterations: int | None) -> None:
    W, labels, masked = _case()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    everyone = torch.full((len(labels), 3), torch.nan, dtype=torch.float64)
    everyone[masked] = propagate_labels(transition_matrix(W), labels, masked, 3, iterations)
    permuted = propagate_labels(
        transition_matrix(W[order][:, order]), labels[order], masked[order], 3, iterations
    )
    torch.testing.assert_close(permuted, everyone[order][masked[order]])


@pytest.mark.parametrize("iterations", [3, None])
def test_permuting_classes_permutes_columns(iterations: int | None) -> None:
    W, labels, masked = _case()
    P = transition_matrix(W)
    renamed = torch.tensor([2, 0, 1])  # class c becomes renamed[c]
    torch.testing.assert_close(
        propagate_labels(P, renamed[labels], masked, 3, iterations)[:, renamed],
        propagate_labels(P, labels, masked, 3, iterations),
    )


@pytest.mark.parametrize("iterations", [3, None])
def test_hidden_labels_are_not_read(iterations: int | None) -> None:
    W, labels, masked = _case()
    P = transition_matrix(W)
    hidden = torch.where(masked, -1, labels)
    assert torch.equal(
        propagate_labels(P, hidden, masked, 3, iterations), propagate_labels(P, labels, masked, 3, iterations)
    )


@pytest.mark.parametrize("iterations", [3, None])
def test_documents_that_no_label_reaches_get_equal_shares(iterations: int | None) -> None:
    # 0 and 1 see each other, 2 and 3 see each other; only 0 is visible
    W = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).double().fill_diagonal_(0.0).requires_grad_()
    masked = torch.tensor([False, True, True, True])
    F_u = propagate_labels(transition_matrix(W), torch.tensor([1, 1, 0, 0]), masked, 2, iterations)
    torch.testing.assert_close(F_u, torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64))
    F_u.square().sum().backward()
    assert torch.isfinite(W.grad).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_closed_form_with_masked_duplicates_far_from_all_visible_documents(normalization: str) -> None:
    # 2 and 3 are one text; each step a walk leaves them with a probability of e^-70: I - P_uu is singular in
    # float64. By symmetry their share of class 0 is that of one document's direct neighbours.
    cosine = torch.tensor(
        [[1.0, 0.0, 0.3, 0.3], [0.0, 1.0, 0.29, 0.29], [0.3, 0.29, 1.0, 1.0], [0.3, 0.29, 1.0, 1.0]]
    ).double()
    W = ((cosine - 1) / 0.01).exp().fill_diagonal_(0.0).requires_grad_()
    P = transition_matrix(W, normalization)
    F_u = propagate_labels(P, torch.tensor([0, 1, 0, 0]), torch.tensor([False, False, True, True]), 2, None)
    direct = (P[2, :2] / P[2, :2].sum()).expand(2, 2)
    torch.testing.assert_close(F_u, direct, rtol=1e-6, atol=0)
    F_u[0, 0].log().backward()
    assert torch.isfinite(W.grad).all()


def test_nan_comes_through() -> None:
    W, labels, masked = _case()
    P = transition_matrix(W)
    P[masked.nonzero()[0, 0], 0] = torch.nan
    assert propagate_labels(P, labels, masked, 3, 2).isnan().any()


def test_nothing_masked_gives_no_rows() -> None:
    W, labels, _ = _case()
    assert propagate_labels(transition_matrix(W), labels, torch.zeros(14, dtype=torch.bool), 3, 5).shape == (
        0,
        3,
    )


def test_full_precision_inside_autocast() -> None:
    W, labels, masked = _case()
    P = transition_matrix(W).float()
    for iterations in (4, None):
        outside = propagate_labels(P, labels, masked, 3, iterations)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(propagate_labels(P, labels, masked, 3, iterations), outside)


def test_refuses_what_does_not_fit() -> None:
    W, labels, masked = _case()
    P = transition_matrix(W)
    with pytest.raises(ValueError, match=r"P must be a square matrix, got shape \(14, 3\)"):
        propagate_labels(P[:, :3], labels, masked, 3, 5)
    with pytest.raises(ValueError, match=r"labels must be torch.int64 of shape \(14,\)"):
        propagate_labels(P, labels[:3], masked, 3, 5)
    with pytest.raises(ValueError, match=r"masked must be torch.bool of shape \(14,\).* got torch.int64"):
        propagate_labels(P, labels, masked.long(), 3, 5)
    with pytest.raises(ValueError, match=r"labels must be in \[0, num_classes\), got 0 to 2"):
        propagate_labels(P, labels, masked, 2, 5)
    with pytest.raises(ValueError, match="num_classes: must be at least 2, got 1"):
        propagate_labels(P, labels, masked, 1, 5)
    for iterations in (0, -1, 1.5):
        with pytest.raises(ValueError, match="iterations: must be a whole number of at least 1, or None"):
            propagate_labels(P, labels, masked, 3, iterations)
