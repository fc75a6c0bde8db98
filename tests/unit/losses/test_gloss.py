from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gloss_tune.losses import (
    NORMALIZATIONS,
    GLoss,
    gloss_loss,
    propagate_labels,
    random_mask,
    similarity_graph,
    supervised_contrastive_loss,
    transition_matrix,
)

STEPS = [1, 4, None]


def _case(B: int = 16, C: int = 3, D: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(B, D, dtype=torch.float64, generator=generator)
    labels = torch.arange(B) % C
    return X, labels, random_mask(labels, 0.5, generator)


def _clusters(C: int, each: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """C clusters on the axes, ``each`` documents in each."""
    labels = torch.arange(C).repeat(each)
    jitter = torch.randn(C * each, C, generator=torch.Generator().manual_seed(0)).double()
    return torch.eye(C, dtype=torch.float64)[labels] + noise * jitter, labels


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", STEPS)
def test_is_the_mean_surprise_at_the_propagated_labels(normalization: str, iterations: int | None) -> None:
    X, labels, masked = _case()
    F_u = propagate_labels(
        transition_matrix(similarity_graph(X, 0.2), normalization), labels, masked, 3, iterations
    )
    expected = [
        -math.log(row[label]) for row, label in zip(F_u.tolist(), labels[masked].tolist(), strict=True)
    ]
    loss = gloss_loss(
        X, labels, masked, 3, temperature=0.2, iterations=iterations, normalization=normalization
    )
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(expected) / len(expected), abs=1e-10)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", STEPS)
def test_gradient(normalization: str, iterations: int | None) -> None:
    X, labels, masked = _case(B=9, D=3)

    def loss(embeddings: Tensor) -> Tensor:
        return gloss_loss(
            embeddings, labels, masked, 3, temperature=0.4, iterations=iterations, normalization=normalization
        )

    assert torch.autograd.gradcheck(loss, X.requires_grad_())


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("temperature", [0.01, 0.1, 2.0])
@pytest.mark.parametrize("iterations", STEPS)
def test_gradient_is_finite_and_not_zero_in_float32(
    normalization: str, temperature: float, iterations: int | None
) -> None:
    X, labels, masked = _case(B=64, C=4, D=32)
    X = X.float().requires_grad_()
    loss = gloss_loss(
        X, labels, masked, 4, temperature=temperature, iterations=iterations, normalization=normalization
    )
    loss.backward()
    assert loss.dtype == torch.float32
    assert 0 < loss.item() < math.inf
    assert torch.isfinite(X.grad).all()
    assert (X.grad.norm(dim=1) > 0).all()  # each document pulls
    assert X.grad.norm() > 1e-3


@pytest.mark.parametrize("iterations", STEPS)
def test_the_hardest_documents_keep_their_gradient_at_a_small_temperature(iterations: int | None) -> None:
    # the masked document sits in the wrong cluster, opposite to its own: probability e^-200, in float32 a 0
    angles = torch.tensor([0.0, 0.05, math.pi, math.pi + 0.05, 0.02])
    X = torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 1])
    masked = torch.tensor([False, False, False, False, True])
    loss = gloss_loss(X, labels, masked, 2, temperature=0.01, iterations=iterations)
    assert loss.item() == pytest.approx(200, rel=0.02)
    loss.backward()
    assert X.grad[4].norm() > 0.1


@pytest.mark.parametrize("C", [2, 5])
@pytest.mark.parametrize("iterations", STEPS)
def test_falls_to_zero_for_separated_classes(C: int, iterations: int | None) -> None:
    X, labels = _clusters(C, each=6, noise=1e-3)
    masked = torch.arange(6 * C) >= 3 * C
    loss = gloss_loss(X, labels, masked, C, temperature=0.05, iterations=iterations)
    # a softmax over the probabilities would leave log(1 + (C - 1) / e), 0.31 for two classes
    assert 0 <= loss.item() < 1e-6


def test_equals_log_of_the_number_of_classes_on_a_flat_graph() -> None:
    X, labels, _ = _case(B=24, C=4)
    masked = torch.arange(24) >= 12  # three visible documents of each class
    loss = gloss_loss(X, labels, masked, 4, temperature=1e9, iterations=5)
    assert loss.item() == pytest.approx(math.log(4), abs=1e-7)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", STEPS)
def test_depends_neither_on_the_order_of_documents_nor_on_class_numbers(
    normalization: str, iterations: int | None
) -> None:
    X, labels, masked = _case(B=20, C=4)

    def loss(X: Tensor, labels: Tensor, masked: Tensor) -> float:
        return gloss_loss(
            X, labels, masked, 4, temperature=0.3, iterations=iterations, normalization=normalization
        ).item()

    expected = loss(X, labels, masked)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert loss(X[order], labels[order], masked[order]) == pytest.approx(expected, abs=1e-12)
    assert loss(X, torch.tensor([3, 1, 0, 2])[labels], masked) == pytest.approx(expected, abs=1e-12)


def test_documents_of_a_class_without_a_visible_one_are_left_out_of_the_mean() -> None:
    X, labels, masked = _case()
    masked[labels == 2] = True
    X.requires_grad_()
    F_u = propagate_labels(transition_matrix(similarity_graph(X, 0.2)), labels, masked, 3, 4)
    truth = labels[masked]
    surprises = [-math.log(row[c]) for row, c in zip(F_u.tolist(), truth.tolist(), strict=True) if c != 2]
    loss = gloss_loss(X, labels, masked, 3, temperature=0.2, iterations=4)
    assert loss.item() == pytest.approx(sum(surprises) / len(surprises), abs=1e-10)
    loss.backward()
    assert torch.isfinite(X.grad).all()


@pytest.mark.parametrize(
    "masked",
    [[True] * 4, [False] * 4, [False, False, True, True]],
    ids=["all hidden", "all visible", "the hidden class is not visible"],
)
@pytest.mark.parametrize("iterations", STEPS)
def test_nothing_to_learn_is_a_zero_with_a_zero_gradient(masked: list[bool], iterations: int | None) -> None:
    X = torch.randn(4, 3, requires_grad=True)
    loss = gloss_loss(
        X, torch.tensor([0, 0, 1, 1]), torch.tensor(masked), 2, temperature=0.1, iterations=iterations
    )
    assert loss.item() == 0.0
    assert loss.dtype == torch.float32
    loss.backward()
    assert torch.equal(X.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("iterations", STEPS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_show_in_the_loss(iterations: int | None, bad: float) -> None:
    X, labels, masked = _case()
    X[0, 0] = bad
    assert gloss_loss(X, labels, masked, 3, temperature=0.1, iterations=iterations).isnan()
    nothing = torch.zeros_like(masked)
    assert gloss_loss(X, labels, nothing, 3, temperature=0.1, iterations=iterations).isnan()


def test_full_precision_inside_autocast() -> None:
    X, labels, masked = _case(B=32)
    X = X.float()
    outside = gloss_loss(X, labels, masked, 3, temperature=0.05, iterations=4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gloss_loss(X, labels, masked, 3, temperature=0.05, iterations=4)
        low = gloss_loss(X.bfloat16(), labels, masked, 3, temperature=0.05, iterations=4)
    assert inside.dtype == low.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert low.item() == pytest.approx(
        gloss_loss(X.bfloat16().double(), labels, masked, 3, temperature=0.05, iterations=4).item(), rel=1e-5
    )


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("iterations", STEPS)
def test_never_waits_for_the_device_if_labels_and_mask_are_on_the_cpu(
    normalization: str, iterations: int | None
) -> None:
    # a tensor on the meta device has no values: whatever would have to wait for one raises
    _, labels, masked = _case(B=32)
    X = torch.empty(32, 8, device="meta", requires_grad=True)
    with pytest.raises((NotImplementedError, RuntimeError)):
        X[(X > 0).any(dim=1)]
    loss = gloss_loss(
        X, labels, masked, 3, temperature=0.1, iterations=iterations, normalization=normalization
    )
    loss.backward()
    assert X.grad.shape == X.shape


def test_refuses_what_does_not_fit() -> None:
    X, labels, masked = _case()
    with pytest.raises(ValueError, match=r"labels must be torch.int64 of shape \(16,\)"):
        gloss_loss(X, labels.float(), masked, 3)
    with pytest.raises(ValueError, match=r"masked must be torch.bool of shape \(16,\)"):
        gloss_loss(X, labels, masked[:4], 3)
    with pytest.raises(ValueError, match=r"labels must be in \[0, num_classes\), got 0 to 2"):
        gloss_loss(X, labels, masked, 2)
    with pytest.raises(ValueError, match="temperature: "):
        gloss_loss(X, labels, masked, 3, temperature=0.0)
    with pytest.raises(ValueError, match="iterations: "):
        gloss_loss(X, labels, masked, 3, iterations=0)
    with pytest.raises(ValueError, match="normalization: "):
        gloss_loss(X, labels, masked, 3, normalization="none")


class _Embedder(nn.Module):
    """Stands in for a SentenceTransformer: one learnable vector for each word."""

    def __init__(self, words: int = 40, D: int = 8) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, D)
        with torch.no_grad():
            self.words.weight.copy_(torch.randn(words, D, generator=torch.Generator().manual_seed(0)))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": self.words(features["input_ids"])}


def _texts(B: int = 32) -> tuple[dict[str, Tensor], Tensor]:
    return {"input_ids": torch.arange(B)[:, None] % 40}, torch.arange(B) % 2


def test_module_is_gloss_loss_with_masks_of_its_own() -> None:
    model, (features, labels) = _Embedder(), _texts()
    loss = GLoss(model, num_classes=2, mask_ratio=0.4, iterations=3, temperature=0.2, seed=7)
    generator = torch.Generator().manual_seed(7)
    X = model(features)["sentence_embedding"]
    for _ in range(2):
        masked = random_mask(labels, 0.4, generator)
        expected = gloss_loss(X, labels, masked, 2, temperature=0.2, iterations=3)
        assert loss([features], labels).item() == expected.item()


def test_module_accepts_labels_as_a_column() -> None:
    model, (features, labels) = _Embedder(), _texts()
    assert torch.equal(GLoss(model, 2)([features], labels[:, None]), GLoss(model, 2)([features], labels))


def test_evaluation_repeats_itself_and_leaves_the_training_masks_alone() -> None:
    model, (features, labels) = _Embedder(), _texts()
    undisturbed = GLoss(model, 2)
    expected = [undisturbed([features], labels).item() for _ in range(2)]
    loss = GLoss(model, 2)
    trained = [loss([features], labels).item()]
    model.eval()
    evaluated = {loss([features], labels).item() for _ in range(3)}
    model.train()
    trained.append(loss([features], labels).item())
    assert len(evaluated) == 1
    assert trained == expected
    assert trained[0] != trained[1]


def test_module_refuses_several_text_columns_and_missing_labels() -> None:
    model, (features, labels) = _Embedder(), _texts()
    loss = GLoss(model, 2)
    with pytest.raises(ValueError, match="one text column, got 2"):
        loss([features, features], labels)
    with pytest.raises(ValueError, match="got no labels"):
        loss([features], None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_classes": 1},
        {"mask_ratio": 1.0},
        {"iterations": 0},
        {"temperature": -0.1},
        {"normalization": "none"},
        {"class_weights": [1.0, 2.0, 3.0]},
        {"class_weights": [1.0, 0.0]},
        {"class_weights": [1.0, float("nan")]},
    ],
)
def test_module_refuses_parameters_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: must be"):
        GLoss(_Embedder(), **{"num_classes": 2, **wrong})


def test_the_module_weighs_classes_as_the_function_does() -> None:
    model, (features, labels) = _Embedder(), _texts()
    weights = torch.tensor([1.0, 5.0])
    loss = GLoss(model, 2, seed=3, class_weights=weights)
    masked = random_mask(labels, 0.5, torch.Generator().manual_seed(3))
    embeddings = model(features)["sentence_embedding"]
    expected = gloss_loss(embeddings, labels, masked, 2, class_weights=weights)
    assert torch.equal(loss([features], labels), expected)
    assert not torch.equal(GLoss(model, 2, seed=3)([features], labels), expected)
    assert not loss.state_dict().keys() & {"class_weights"}


def test_a_last_batch_of_one_document_is_no_accident() -> None:
    model, (features, labels) = _Embedder(), _texts(1)
    loss = GLoss(model, 2)([features], labels)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(model.words.weight.grad, torch.zeros_like(model.words.weight))


def test_config_can_rebuild_the_module() -> None:
    loss = GLoss(_Embedder(), 2, 0.3, None, 0.07, "authors", seed=5)
    config = loss.get_config_dict()
    assert config == {
        "num_classes": 2,
        "mask_ratio": 0.3,
        "iterations": None,
        "temperature": 0.07,
        "normalization": "authors",
        "seed": 5,
        "class_weights": None,
    }
    assert GLoss(_Embedder(), **config).get_config_dict() == config
    weighted = GLoss(_Embedder(), 2, class_weights=[1, 3]).get_config_dict()
    assert GLoss(_Embedder(), **weighted).get_config_dict() == weighted
    assert "2604.25853" in loss.citation


def test_plain_descent_lowers_the_loss() -> None:
    model, (features, labels) = _Embedder(), _texts()
    loss = GLoss(model, 2, temperature=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss([features], labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert sum(values[-5:]) < 0.2 * sum(values[:5])


@pytest.mark.parametrize("loss", ["gloss", "scl"])
def test_class_weights_take_the_weighted_mean_as_torch_does(loss: str) -> None:
    """Each document by itself, weighted by hand; a document that cannot be learnt counts in neither sum."""
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(14, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3])  # 3 has no partner
    weights = torch.tensor([0.3, 2.0, 5.0, 100.0], dtype=torch.float64)
    masked = torch.tensor([True, False] * 6 + [False, True])

    def value(class_weights: torch.Tensor | None) -> torch.Tensor:
        if loss == "scl":
            return supervised_contrastive_loss(X, labels, temperature=0.5, class_weights=class_weights)
        return gloss_loss(X, labels, masked, 4, temperature=0.5, iterations=3, class_weights=class_weights)

    # a weight of 1 for one class and almost none for the others is the mean over that class
    parts, counts = [], []
    counted = masked if loss == "gloss" else torch.ones(14, dtype=torch.bool)
    for number in range(3):
        alone = torch.full((4,), 1e-12, dtype=torch.float64)
        alone[number] = 1.0
        parts.append(value(alone))
        counts.append(weights[number] * (counted & (labels == number)).sum())
    expected = sum(part * n for part, n in zip(parts, counts, strict=True)) / sum(counts)
    assert torch.allclose(value(weights), expected, rtol=1e-6)
    assert torch.equal(value(None), value(torch.ones(4, dtype=torch.float64)))
    assert not torch.allclose(value(weights), value(None))
    (gradient,) = torch.autograd.grad(value(weights), X)
    (wanted,) = torch.autograd.grad(expected, X)
    assert torch.allclose(gradient, wanted, atol=1e-8)
    assert gradient.abs().sum() > 0


def test_class_weights_are_one_for_each_class() -> None:
    X, labels, masked = (
        torch.randn(4, 2),
        torch.tensor([0, 1, 0, 1]),
        torch.tensor([True, True, False, False]),
    )
    with pytest.raises(ValueError, match="class_weights: must be of shape"):
        gloss_loss(X, labels, masked, 2, class_weights=torch.ones(3))
