from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gloss_tune.losses import NORMALIZATIONS, gloss_loss, graph, similarity_graph, transition_matrix


def _embeddings(B: int = 12, D: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _loops_similarity(X: Tensor, temperature: float) -> list[list[float]]:
    rows = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in X.tolist()]
    return [
        [
            0.0 if i == j else math.exp((sum(a * b for a, b in zip(x, y, strict=True)) - 1) / temperature)
            for j, y in enumerate(rows)
        ]
        for i, x in enumerate(rows)
    ]


def _loops_transition(W: list[list[float]], normalization: str) -> list[list[float]]:
    n = len(W)
    degree = [sum(row) for row in W]
    if normalization == "random_walk":
        return [[W[i][j] / degree[i] for j in range(n)] for i in range(n)]
    S = [[W[i][j] / math.sqrt(degree[i] * degree[j]) for j in range(n)] for i in range(n)]
    if normalization == "authors":
        column = [sum(S[i][j] for i in range(n)) for j in range(n)]
        S = [[S[i][j] / column[j] for j in range(n)] for i in range(n)]
    return [[S[i][j] / sum(S[i]) for j in range(n)] for i in range(n)]


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0])
def test_similarity_is_the_papers_gaussian_of_normalised_embeddings(temperature: float) -> None:
    X = _embeddings()
    W = similarity_graph(X, temperature)
    torch.testing.assert_close(W, torch.tensor(_loops_similarity(X, temperature), dtype=torch.float64))

    unit = X / X.norm(dim=1, keepdim=True)
    gaussian = torch.exp(-torch.cdist(unit, unit).square() / (2 * temperature))  # σ² = τ
    torch.testing.assert_close(W, gaussian.fill_diagonal_(0.0))


def test_similarity_ignores_the_length_of_embeddings() -> None:
    X = _embeddings()
    scale = torch.linspace(0.1, 100.0, len(X), dtype=torch.float64)[:, None]
    torch.testing.assert_close(similarity_graph(X * scale, 0.1), similarity_graph(X, 0.1))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_transition_matrix_agrees_with_explicit_loops(normalization: str) -> None:
    W = similarity_graph(_embeddings(), 0.2)
    P = transition_matrix(W, normalization)
    torch.testing.assert_close(
        P, torch.tensor(_loops_transition(W.tolist(), normalization), dtype=torch.float64)
    )
    torch.testing.assert_close(P.sum(dim=1), torch.ones(len(W), dtype=torch.float64))


def test_normalizations_differ() -> None:
    W = similarity_graph(_embeddings(), 0.2)
    walks = [transition_matrix(W, normalization) for normalization in NORMALIZATIONS]
    assert all((walks[i] - walks[j]).abs().max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_random_walk_is_the_default() -> None:
    W = similarity_graph(_embeddings(), 0.2)
    assert torch.equal(transition_matrix(W), transition_matrix(W, "random_walk"))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradient_passes_the_zeros_of_the_graph(normalization: str) -> None:
    X = _embeddings().requires_grad_()
    transition_matrix(similarity_graph(X, 0.2), normalization).square().sum().backward()
    assert torch.isfinite(X.grad).all()
    assert X.grad.norm() > 1e-6


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_document_without_neighbours_stays_where_it_is(normalization: str) -> None:
    W = similarity_graph(_embeddings(6), 0.2)
    others = transition_matrix(W[1:, 1:], normalization)
    W = W.clone()
    W[0, :] = W[:, 0] = 0.0
    W.requires_grad_()
    P = transition_matrix(W, normalization)
    expected = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), others)
    torch.testing.assert_close(P, expected)
    P.square().sum().backward()
    assert torch.isfinite(W.grad).all()


def test_full_precision_inside_autocast() -> None:
    X = _embeddings().float()
    outside = transition_matrix(similarity_graph(X, 0.05))
    with torch.autocast("cpu", torch.bfloat16):
        inside = transition_matrix(similarity_graph(X, 0.05))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert similarity_graph(X.bfloat16(), 0.05).dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_temperature_without_a_graph(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature: must be a finite number above 0, got"):
        similarity_graph(_embeddings(), temperature)


def test_refuses_wrong_shapes_and_names() -> None:
    with pytest.raises(
        ValueError, match=r"matrix \(B, D\) of floating-point numbers, got torch.float64 of shape \(5,\)"
    ):
        similarity_graph(_embeddings()[0], 0.1)
    with pytest.raises(ValueError, match=r"matrix \(B, D\) .* got torch.int64"):
        similarity_graph(_embeddings().long(), 0.1)
    with pytest.raises(ValueError, match=r"square matrix, got shape \(12, 5\)"):
        transition_matrix(_embeddings())
    with pytest.raises(ValueError, match="must be one of random_walk, symmetric, authors, got 'softmax'"):
        transition_matrix(torch.ones(2, 2), "softmax")


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_a_large_batch_on_a_card_with_slow_float64_gives_the_same_loss(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (64,), generator=generator)
    centres = torch.randn(3, 16, generator=generator)
    X = (centres[labels] + torch.randn(64, 16, generator=generator)).requires_grad_()
    masked = torch.arange(64) % 2 == 0

    def loss_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        loss = gloss_loss(X, labels, masked, 3, temperature=temperature)
        return loss, torch.autograd.grad(loss, X)[0]

    expected = loss_and_gradient()
    products: list[torch.dtype] = []
    monkeypatch.setattr(graph, "_LARGE_BATCH", 64)
    monkeypatch.setattr(graph, "_has_slow_float64", lambda device: products.append(torch.float32) or True)
    torch.testing.assert_close(loss_and_gradient(), expected, rtol=2e-4, atol=1e-6)
    assert products
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    torch.testing.assert_close(loss_and_gradient(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("capability", "slow"), [((9, 0), False), ((8, 0), False), ((8, 9), True), ((7, 5), True)]
)
def test_cards_for_graphics_have_slow_float64(
    capability: tuple[int, int], slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert graph._has_slow_float64(torch.device("cuda:0")) is slow
    assert not graph._has_slow_float64(torch.device("cpu"))
