"""One fine-tune with a tiny encoder: what it keeps, repeats, resumes and refuses."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder
from gloss_tune.errors import DeviceMemoryError, NonFiniteLossError, SpecError
from gloss_tune.finetune.checkpoint import load_checkpoint, save_checkpoint
from gloss_tune.finetune.config import LOSSES, MODES, TIMING_METRICS, EpochReport, FinetuneConfig
from gloss_tune.finetune.embedding import embed_documents
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.rehearsal import Rehearsal
from tests.unit.finetune.tiny import documents

TRAIN = documents(90, classes=3, seed=1)
VAL = documents(45, classes=3, seed=2)
TEST = documents(60, classes=3, seed=3)
CONFIG = FinetuneConfig(
    epochs=4, patience=4, batch_size=16, max_length=16, learning_rate=3e-3, temperature=0.3, lpa_iterations=3
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Equal to the last bit is promised for equal numbers of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finetune(encoder: Encoder, on_step: Callable[[], None] | None = None, **changes: object) -> Finetune:
    return Finetune(dataclasses.replace(CONFIG, **changes), TRAIN, VAL, 3, encoder, on_step=on_step)


def lasting(report: EpochReport) -> dict[str, float]:
    """The metrics that do not depend on the clock."""
    return {name: value for name, value in report.metrics.items() if name not in TIMING_METRICS}


def weights(run: Finetune) -> dict[str, Tensor]:
    return {**run.encoder.weights(), **{name: value.clone() for name, value in run.head.state_dict().items()}}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("loss", "mode"),
    [(loss, mode) for loss in LOSSES for mode in MODES if (loss, mode) != ("ce", "standalone")],
)
def test_every_loss_learns_in_every_mode(encoder: Encoder, loss: str, mode: str) -> None:
    reports = list(finetune(encoder, loss=loss, mode=mode).epochs())
    assert max(report.metrics["val_accuracy"] for report in reports) > 0.6  # chance is a third
    if loss != "triplet":  # means over the triplets that still violate the margin, not over all
        assert reports[-1].metrics["train_loss"] < reports[0].metrics["train_loss"]


def test_reports_have_the_metrics_of_a_rehearsal(encoder: Encoder) -> None:
    for changes in ({}, {"loss": "ce"}, {"loss": "scl", "mode": "standalone"}):
        (report,) = finetune(encoder, epochs=1, **changes).epochs()
        (simulated,) = Rehearsal(dataclasses.replace(CONFIG, epochs=1, **changes)).epochs()
        assert report.metrics.keys() == simulated.metrics.keys()
        assert all(math.isfinite(value) for value in report.metrics.values())


def test_the_loss_is_the_weighted_sum_of_its_parts(encoder: Encoder) -> None:
    (report,) = finetune(encoder, epochs=1, gloss_weight=0.3).epochs()
    metrics = report.metrics
    assert metrics["train_loss"] == pytest.approx(0.3 * metrics["train_gloss"] + 0.7 * metrics["train_ce"])


@pytest.mark.parametrize("mode", ["integrated", "standalone"])
def test_the_best_epochs_weights_are_kept_and_evaluated(encoder: Encoder, mode: str) -> None:
    # a rate this high makes the last epoch a bad one
    run = finetune(encoder, mode=mode, learning_rate=3e-2, epochs=6, patience=6)
    after_each = []
    reports = []
    for report in run.epochs():
        reports.append(report)
        after_each.append(weights(run))
    best = run.best
    assert best is not None
    assert best.epoch < len(reports), "the case must have its best epoch before its last"
    assert best.metrics["val_macro_f1"] == max(report.metrics["val_macro_f1"] for report in reports)
    assert same(weights(run), after_each[best.epoch - 1])
    evaluated = {f"val_{name}": value for name, value in run.evaluate(VAL).items()}
    assert evaluated == {name: best.metrics[name] for name in evaluated}


def test_patience_ends_the_run(encoder: Encoder) -> None:
    run = finetune(encoder, learning_rate=2e-2, epochs=30, patience=2)
    reports = list(run.epochs())
    assert run.best is not None
    assert len(reports) == run.best.epoch + 2 < 30


@pytest.mark.parametrize("mode", ["integrated", "standalone"])
def test_repeats_to_the_last_bit_whatever_ran_before(encoder: Encoder, mode: str) -> None:
    first_run = finetune(encoder, mode=mode)
    first, first_weights = [lasting(report) for report in first_run.epochs()], weights(first_run)
    other = [lasting(report) for report in finetune(encoder, loss="scl", seed=5, learning_rate=1e-2).epochs()]
    torch.rand(7)
    np.random.seed(3)
    second_run = finetune(encoder, mode=mode)
    second = [lasting(report) for report in second_run.epochs()]
    assert first == second != other
    assert same(first_weights, weights(second_run))


def test_another_seed_gives_another_run(encoder: Encoder) -> None:
    one, other = (next(finetune(encoder, seed=seed).epochs()) for seed in (0, 1))
    assert lasting(one) != lasting(other)


def test_leaves_torchs_random_state_as_it_was(encoder: Encoder) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    list(finetune(encoder, epochs=2).epochs())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("mode", ["integrated", "standalone"])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_run_equals_the_uninterrupted_one(
    encoder: Encoder, tmp_path: Path, mode: str, stop_after: int
) -> None:
    settings = {"mode": mode, "learning_rate": 8e-3, "metric": "val_silhouette"}
    whole = finetune(encoder, **settings)
    expected = [lasting(report) for report in whole.epochs()]
    expected_weights, expected_best = weights(whole), whole.best

    interrupted = finetune(encoder, **settings)
    path = tmp_path / "checkpoint"
    epochs = interrupted.epochs()
    for _ in range(stop_after):
        next(epochs)
    state = interrupted.state_dict()
    next(epochs)  # a state must not change when its run goes on
    save_checkpoint(path, state)
    epochs.close()
    list(finetune(encoder, seed=9).epochs())

    resumed = finetune(encoder, **settings)
    resumed.load_state_dict(load_checkpoint(path))
    rest = list(resumed.epochs())
    assert [report.epoch for report in rest] == list(range(stop_after + 1, 5))
    assert [lasting(report) for report in rest] == expected[stop_after:]
    assert same(weights(resumed), expected_weights)
    assert resumed.best is not None
    assert expected_best is not None
    assert lasting(resumed.best) == lasting(expected_best)


def test_a_run_resumed_after_its_best_epoch_still_ends_with_that_epochs_weights(encoder: Encoder) -> None:
    settings = {"learning_rate": 3e-2, "epochs": 6, "patience": 6}
    whole = finetune(encoder, **settings)
    reports = list(whole.epochs())
    expected = weights(whole)
    assert whole.best is not None
    assert whole.best.epoch < len(reports), "the case must have its best epoch before its last"

    interrupted = finetune(encoder, **settings)
    for report in interrupted.epochs():
        if report.epoch == whole.best.epoch + 1:
            state = interrupted.state_dict()
            break
    resumed = finetune(encoder, **settings)
    resumed.load_state_dict(state)
    list(resumed.epochs())
    assert same(weights(resumed), expected)


def test_a_state_of_another_configuration_is_refused(encoder: Encoder) -> None:
    run = finetune(encoder, epochs=1)
    list(run.epochs())
    with pytest.raises(ValueError, match="temperature"):
        finetune(encoder, epochs=1, temperature=0.5).load_state_dict(run.state_dict())


def test_on_step_is_called_once_a_step_and_evaluation_batch(encoder: Encoder) -> None:
    calls = []
    list(finetune(encoder, on_step=lambda: calls.append(1), epochs=2).epochs())
    assert len(calls) == 2 * (6 + 1)  # 90 documents in batches of 16, and 45 to validate


@pytest.mark.parametrize("at", [3, 7, 10])  # in the first epoch, in its validation, in the second epoch
def test_what_on_step_raises_ends_the_run_and_breaks_nothing(encoder: Encoder, at: int) -> None:
    class Stop(Exception):
        pass

    calls = 0

    def on_step() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Stop

    random_state = torch.random.get_rng_state()
    run = finetune(encoder, on_step=on_step)
    with pytest.raises(Stop):
        list(run.epochs())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    with pytest.raises(RuntimeError, match="between epochs"):
        run.state_dict()
    if at == 10:
        with pytest.raises(RuntimeError, match="broke off"):
            next(run.epochs())
    expected = [lasting(report) for report in finetune(encoder).epochs()]
    if at < 10:  # no epoch was finished, so the run begins again
        assert [lasting(report) for report in run.epochs()] == expected


def test_a_non_finite_loss_is_named(encoder: Encoder) -> None:
    with pytest.raises(NonFiniteLossError, match=r"epoch \d+, step \d+ of 6 \(learning_rate=1e\+38"):
        list(finetune(encoder, learning_rate=1e38, head_learning_rate=1e38).epochs())
    assert all(value.isfinite().all() for value in finetune_after(encoder).values())


def finetune_after(encoder: Encoder) -> dict[str, Tensor]:
    """Weights of a run on an encoder that another run broke."""
    run = finetune(encoder, epochs=1)
    list(run.epochs())
    return weights(run)


def test_a_non_finite_gradient_is_named(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def spoiled(self: Encoder, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        nonlocal calls
        calls += 1
        embeddings = whole(self, input_ids, lengths)
        if calls == 5:  # two chunks a step
            embeddings.register_hook(lambda gradient: gradient * math.nan)
        return embeddings

    whole = Encoder.embed
    monkeypatch.setattr(Encoder, "embed", spoiled)
    with pytest.raises(NonFiniteLossError, match=r"gradient_norm nan in epoch 1, step 3 of 6"):
        list(finetune(encoder).epochs())


def test_out_of_memory_is_named(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Tensor]] = []

    def full(self: Encoder, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        activations = torch.ones(3)
        held.append(weakref.ref(activations))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Encoder, "embed", full)
    with pytest.raises(DeviceMemoryError, match=r"batch_size 16 .* lower batch_size") as caught:
        list(finetune(encoder).epochs())
    assert held[0]() is None, f"{caught.value!r} must not keep the step's tensors alive"


def test_other_errors_of_torch_stay_what_they_are(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Encoder, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Encoder, "embed", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(finetune(encoder).epochs())


def test_each_document_passes_the_encoder_once_a_step(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    whole = Encoder.embed

    def counted(self: Encoder, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        nonlocal seen
        seen += len(lengths)
        return whole(self, input_ids, lengths)

    monkeypatch.setattr(Encoder, "embed", counted)
    list(finetune(encoder, epochs=1).epochs())
    assert seen == len(TRAIN) + len(VAL)


def test_training_validation_and_test_share_one_head_input(encoder: Encoder) -> None:
    """The head's loss and predictions from first principles: normalised mean-pooled embeddings."""
    run = finetune(encoder, epochs=2, precision="float32")
    list(run.epochs())
    logits = []
    with torch.no_grad():
        for start, end in zip(TEST.offsets[:-1], TEST.offsets[1:], strict=True):
            ids = torch.from_numpy(TEST.ids[start:end].astype(np.int64))[None]
            states = encoder.model[0].auto_model(input_ids=ids).last_hidden_state
            logits.append(run.head(F.normalize(states.mean(dim=1), dim=1)))
    stacked, labels = torch.cat(logits), torch.from_numpy(TEST.labels)
    metrics = run.evaluate(TEST)
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(stacked, labels)), rel=1e-4)
    assert metrics["accuracy"] == pytest.approx(float((stacked.argmax(1) == labels).float().mean()))


def test_an_invalid_configuration_is_refused(encoder: Encoder) -> None:
    with pytest.raises(SpecError, match="epochs"):
        finetune(encoder, epochs=0)


def _imbalanced(size: int, seed: int) -> TokenizedSplit:
    """Nine in ten documents are of class 0."""
    tokens = documents(size, classes=3, seed=seed)
    labels = tokens.labels.copy()
    labels[: size * 85 // 100] = 0
    return dataclasses.replace(tokens, labels=labels)


@pytest.mark.parametrize("hold", [True, False])
def test_class_weights_give_the_gradient_of_weighted_cross_entropy(
    encoder: Encoder, hold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the batch is cut, and with scikit-learn's weights and torch's mean as the oracle."""
    train = _imbalanced(40, seed=5)
    config = dataclasses.replace(
        CONFIG, loss="ce", class_weights="balanced", batch_size=40, precision="float32"
    )
    run = Finetune(config, train, VAL, 3, encoder)
    encoder.model.eval()  # no dropout: the two passes are comparable
    with torch.no_grad():
        run.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    encoder.model.zero_grad()  # it serves other tests too
    order = np.argsort(-train.lengths, kind="stable")
    if not hold:
        monkeypatch.setattr("gloss_tune.finetune.gradients._PLAIN_TOKENS", {"cpu": 0})
        run._limits["training"].lowered = 40
    run._gradients.add(order, run._loss, torch.Generator())
    trained = [parameter for parameter in run._trained if parameter.grad is not None]
    got = [parameter.grad.clone() for parameter in trained if parameter.grad is not None]
    for parameter in run._trained:
        parameter.grad = None
    weights = compute_class_weight("balanced", classes=np.arange(3), y=train.labels)
    embeddings = embed_documents(encoder, train, order)
    labels = torch.from_numpy(train.labels[order])
    loss = F.cross_entropy(
        run.head(F.normalize(embeddings, dim=1)), labels, torch.from_numpy(weights).float()
    )
    loss.backward()
    for parameter, gradient in zip(trained, got, strict=True):
        assert parameter.grad is not None
        difference = (gradient - parameter.grad).abs().max() / parameter.grad.abs().max().clamp_min(1e-6)
        assert difference < 1e-3
    assert got[-1].abs().sum() > 0


def test_class_weights_help_rare_classes_in_every_loss_that_has_them(encoder: Encoder) -> None:
    train = _imbalanced(120, seed=6)

    def recall(**changes: object) -> tuple[float, dict[str, float]]:
        config = dataclasses.replace(CONFIG, epochs=2, learning_rate=1e-3, **changes)
        run = Finetune(config, train, VAL, 3, encoder)
        reports = list(run.epochs())
        return reports[-1].metrics["val_balanced_accuracy"], lasting(reports[-1])

    for changes in (
        {"loss": "ce"},
        {"loss": "gloss"},
        {"loss": "scl"},
        {"loss": "cosine", "mode": "standalone"},
    ):
        plain, _ = recall(**changes)
        balanced, metrics = recall(**changes, class_weights="balanced")
        assert balanced >= plain
        assert math.isfinite(metrics["train_loss"])


def test_a_class_that_validation_lacks_leaves_the_auc_alone_undefined(encoder: Encoder) -> None:
    val = dataclasses.replace(VAL, labels=np.minimum(VAL.labels, 1))
    (report,) = Finetune(dataclasses.replace(CONFIG, epochs=1), TRAIN, val, 3, encoder).epochs()
    assert [name for name, value in report.metrics.items() if not math.isfinite(value)] == ["val_auc"]
