import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from gloss_tune.finetune.probe import fit_probe
from gloss_tune.metrics import balanced_weights


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # an old scikit-learn, a new SciPy
@pytest.mark.parametrize("classes", [2, 4])
def test_equals_scikit_learns_logistic_regression(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % classes
    features = rng.normal(size=(120, 8)) + 1.5 * rng.normal(size=(classes, 8))[labels]
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    head = nn.Linear(8, classes)
    loss = fit_probe(head, torch.from_numpy(features), torch.from_numpy(labels))

    oracle = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000).fit(features.astype(np.float64), labels)
    with torch.no_grad():
        ours = head(torch.from_numpy(features)).softmax(dim=1).numpy()
    theirs = oracle.predict_proba(features)
    if classes == 2:  # one vector there, two opposite ones here: half the penalty for the same boundary
        oracle = LogisticRegression(C=20.0, tol=1e-8, max_iter=1000).fit(features.astype(np.float64), labels)
        theirs = oracle.predict_proba(features)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert loss == pytest.approx(-np.log(theirs[np.arange(120), labels]).mean(), abs=1e-3)


def test_forgets_the_head_before_and_draws_nothing() -> None:
    features, labels = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    one, other = nn.utils.skip_init(nn.Linear, 5, 3), nn.utils.skip_init(nn.Linear, 5, 3)
    nn.init.ones_(other.weight)
    assert fit_probe(one, features, labels) == fit_probe(other, features, labels)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_takes_embeddings_made_without_gradients() -> None:
    with torch.inference_mode():
        features = torch.eye(4)
    head = nn.Linear(4, 2)
    fit_probe(head, features, torch.tensor([0, 0, 1, 1]))
    assert (head(features.clone()).argmax(dim=1) == torch.tensor([0, 0, 1, 1])).all()


def test_a_class_without_documents_is_never_predicted() -> None:
    head = nn.Linear(4, 3)
    fit_probe(head, torch.eye(4), torch.tensor([0, 0, 2, 2]))
    assert (head(torch.eye(4)).argmax(dim=1) == torch.tensor([0, 0, 2, 2])).all()


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # an old scikit-learn, a new SciPy
def test_class_weights_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [100, 15, 5])
    features = (rng.normal(size=(120, 8)) + 0.7 * rng.normal(size=(3, 8))[labels]).astype(np.float32)
    head = nn.Linear(8, 3)
    weights = torch.from_numpy(balanced_weights(labels, 3)).float()
    fit_probe(head, torch.from_numpy(features), torch.from_numpy(labels), weights)
    oracle = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000, class_weight="balanced")
    theirs = oracle.fit(features.astype(np.float64), labels).predict_proba(features)
    with torch.no_grad():
        ours = head(torch.from_numpy(features)).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
