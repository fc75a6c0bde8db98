from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gloss_tune.errors import SpecError
from gloss_tune.losses import (
    LOSSES,
    batch_all_triplet_loss,
    build_loss,
    cosine_similarity_loss,
    gloss_loss,
    random_mask,
    supervised_contrastive_loss,
)

BASELINES = {
    "scl": supervised_contrastive_loss,
    "triplet": batch_all_triplet_loss,
    "cosine": cosine_similarity_loss,
}
PARAMETERS = {
    "num_classes": 3,
    "mask_ratio": 0.4,
    "iterations": 5,
    "temperature": 0.2,
    "normalization": "symmetric",
    "margin": 0.3,
}


def _case(B: int = 11, C: int = 3, D: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    X = 3 * torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return X, torch.arange(B) % C


def _unit_rows(X: Tensor) -> list[list[float]]:
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in X.tolist()]


def _dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_supervised_contrastive_agrees_with_equation_2(temperature: float) -> None:
    X, labels = _case()
    labels[0] = 9  # alone in its class: no anchor, but a negative of all others
    rows, y = _unit_rows(X), labels.tolist()
    anchors = []
    for i, x in enumerate(rows):
        others = [a for a in range(len(rows)) if a != i]
        denominator = sum(math.exp(_dot(x, rows[a]) / temperature) for a in others)
        terms = [
            math.log(math.exp(_dot(x, rows[p]) / temperature) / denominator) for p in others if y[p] == y[i]
        ]
        if terms:
            anchors.append(-sum(terms) / len(terms))
    assert len(anchors) == len(rows) - 1
    loss = supervised_contrastive_loss(X, labels, temperature=temperature)
    assert loss.item() == pytest.approx(sum(anchors) / len(anchors), rel=1e-12)


@pytest.mark.parametrize("margin", [0.1, 0.8])
def test_triplet_agrees_with_explicit_loops(margin: float) -> None:
    X, labels = _case()
    rows, y = _unit_rows(X), labels.tolist()
    n = range(len(rows))
    hinges = [
        math.dist(rows[a], rows[p]) - math.dist(rows[a], rows[q]) + margin
        for a in n
        for p in n
        for q in n
        if a != p and y[a] == y[p] and y[a] != y[q]
    ]
    positive = [value for value in hinges if value > 0]
    assert 0 < len(positive) < len(hinges)
    loss = batch_all_triplet_loss(X, labels, margin=margin)
    assert loss.item() == pytest.approx(sum(positive) / len(positive), rel=1e-6)


def test_cosine_agrees_with_explicit_loops() -> None:
    X, labels = _case()
    rows, y = _unit_rows(X), labels.tolist()
    terms = [(_dot(rows[i], rows[j]) - float(y[i] == y[j])) ** 2 for i in range(len(rows)) for j in range(i)]
    assert cosine_similarity_loss(X, labels).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_cosine_is_the_one_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    X, labels = _case()
    i, j = torch.triu_indices(len(X), len(X), 1)
    ours, theirs = X.clone().requires_grad_(), X.float().requires_grad_()
    expected = CosineSimilarityLoss(None).compute_loss_from_embeddings(
        [theirs[i], theirs[j]], (labels[i] == labels[j]).float()
    )
    loss = cosine_similarity_loss(ours, labels)
    torch.testing.assert_close(loss.float(), expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad.float(), theirs.grad)


@pytest.mark.parametrize("margin", [0.1, 0.8])
def test_triplet_is_the_one_of_sentence_transformers(margin: float) -> None:
    from sentence_transformers.sentence_transformer.losses import BatchAllTripletLoss

    X, labels = _case()
    X[1] = X[0]  # a distance of 0
    ours, theirs = X.float().requires_grad_(), X.float().requires_grad_()
    loss = batch_all_triplet_loss(ours, labels, margin=margin)
    unit = torch.nn.functional.normalize(theirs, dim=1)
    expected = BatchAllTripletLoss(None, margin=margin).batch_all_triplet_loss(labels, unit)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_gradients_are_right(name: str) -> None:
    X, labels = _case(B=8, D=3)
    loss = BASELINES[name]
    assert torch.autograd.gradcheck(lambda embeddings: loss(embeddings, labels), X.requires_grad_())


@pytest.mark.parametrize("name", BASELINES)
def test_ignores_the_length_of_embeddings(name: str) -> None:
    X, labels = _case()
    scale = torch.linspace(0.5, 20.0, len(X), dtype=torch.float64)[:, None]
    assert BASELINES[name](X * scale, labels).item() == pytest.approx(
        BASELINES[name](X, labels).item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("scl", [0, 1, 2, 3]),  # no positive pair
        ("triplet", [0, 1, 2, 3]),
        ("triplet", [0, 0, 0, 0]),  # no negative
        ("scl", [0]),
        ("triplet", [0]),
        ("cosine", [0]),
    ],
)
def test_nothing_to_compare_is_a_zero_with_a_zero_gradient(name: str, labels: list[int]) -> None:
    X = torch.randn(len(labels), 3, requires_grad=True)
    loss = BASELINES[name](X, torch.tensor(labels))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(X.grad, torch.zeros_like(X))


def test_cosine_without_a_positive_pair_still_pushes_apart() -> None:
    X = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert cosine_similarity_loss(X, torch.tensor([0, 1])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", BASELINES)
def test_full_precision_inside_autocast(name: str) -> None:
    X, labels = _case(B=24)
    X = X.float()
    outside = BASELINES[name](X, labels)
    with torch.autocast("cpu", torch.bfloat16):
        inside = BASELINES[name](X, labels)
        low = BASELINES[name](X.bfloat16(), labels)
    assert inside.dtype == low.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("name", BASELINES)
def test_refuses_labels_that_do_not_fit(name: str) -> None:
    X, labels = _case()
    with pytest.raises(ValueError, match=r"labels must be of shape \(11,\)"):
        BASELINES[name](X, labels[:4])


@pytest.mark.parametrize("name", LOSSES)
def test_built_losses_have_their_parameters(name: str) -> None:
    X, labels = _case(B=20)
    loss = build_loss(name, **PARAMETERS)
    expected = {
        "gloss": lambda: gloss_loss(
            X,
            labels,
            random_mask(labels, 0.4, torch.Generator().manual_seed(3)),
            3,
            temperature=0.2,
            iterations=5,
            normalization="symmetric",
        ),
        "scl": lambda: supervised_contrastive_loss(X, labels, temperature=0.2),
        "triplet": lambda: batch_all_triplet_loss(X, labels, margin=0.3),
        "cosine": lambda: cosine_similarity_loss(X, labels),
    }
    if name == "ce":
        assert loss is None
    else:
        assert loss is not None
        assert torch.equal(loss(X, labels, torch.Generator().manual_seed(3)), expected[name]())


def test_build_names_every_fault_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        build_loss(
            "hinge",
            num_classes=1,
            mask_ratio=1.0,
            iterations=0,
            temperature=0.0,
            normalization="none",
            margin=-1.0,
        )
    faults = caught.value.faults
    keys = ["loss", "num_classes", "mask_ratio", "iterations", "temperature", "normalization", "margin"]
    assert [fault.split(":")[0] for fault in faults] == keys
    assert all("got" in fault and ";" in fault for fault in faults)
