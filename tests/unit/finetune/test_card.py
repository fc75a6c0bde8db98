"""The CUDA path as far as it is known without a card: a whole run on tensors without data (``card.py``).

Proved: every tensor is on its device, no step waits for the card, and which kernel computes attention. Not proved: any
number; those are :mod:`tests.benchmarks.gpu`'s to compare, on a card.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.finetune import FinetuneConfig, loop, probe
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.training_loss import TrainingLoss
from tests.unit.finetune.card import HOPPER, TURING, Card, pretended_card
from tests.unit.finetune.tiny import documents, write_encoder

pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, "_ensureCUDADeviceGuardSet"), reason="this torch cannot pretend a card"
)
BATCH = 16
TRAIN, VAL = documents(2 * BATCH, classes=3, seed=1), documents(20, classes=3, seed=2)
CARDS = {"Hopper": HOPPER, "Turing": TURING}
KERNELS = {"Hopper": "aten::_flash_attention", "Turing": "aten::_efficient_attention"}
LOSSES = {
    "gloss": {"loss": "gloss"},
    "closed form": {"loss": "gloss", "propagation": "closed_form"},
    "ce": {"loss": "ce"},
    "scl": {"loss": "scl"},
    "triplet": {"loss": "triplet"},
    "cosine": {"loss": "cosine"},
}
MODES = ("integrated", "standalone")
RUNS = [(loss, mode) for loss in LOSSES for mode in MODES if (loss, mode) != ("ce", "standalone")]
# every loss, both modes and both cards; a mode and a card differ by nothing that another loss sees
QUICK = {("Hopper", loss, "integrated") for loss in LOSSES} | {
    ("Hopper", "gloss", "standalone"),
    ("Turing", "scl", "standalone"),
    ("Turing", "gloss", "integrated"),
}


def cases() -> Iterator[object]:
    for card in CARDS:
        for loss, mode in RUNS:
            quick = (card, loss, mode) in QUICK
            yield pytest.param(card, loss, mode, marks=() if quick else pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_encoder(tmp_path_factory.mktemp("encoder"), hidden_size=16)
    Encoder.load(resolve_encoder(str(folder)), max_length=16)  # imports, before a card is pretended
    return folder


@pytest.fixture(autouse=True)
def no_number_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data, all numbers are read as 0: no step would be finite, and no probe would ever fit."""
    monkeypatch.setattr(loop, "check_finite", lambda *_: None)
    monkeypatch.setattr(probe, "_MAX_ITERATIONS", 3)


def finetune(folder: Path, on_step: Callable[[], None] = lambda: None, **changes: object) -> Finetune:
    config = FinetuneConfig(
        **{"epochs": 1, "patience": 1, "batch_size": BATCH, "max_length": 16, **changes}  # type: ignore[arg-type]
    )
    encoder = Encoder.load(resolve_encoder(str(folder)), "cuda:0", 16)
    return Finetune(config, TRAIN, VAL, 3, encoder, on_step=on_step)


def waits_of_a_step(card: Card, folder: Path, **changes: object) -> Counter[str]:
    """Those between the ends of an epoch's two steps; evaluation comes after the second."""
    ends: list[Counter[str]] = []
    for _ in finetune(folder, lambda: ends.append(Counter(card.waits)), **changes).epochs():
        pass
    return ends[1] - ends[0]


@pytest.mark.parametrize(("name", "loss", "mode"), list(cases()))
def test_a_run_trains_evaluates_saves_and_goes_on_without_a_wait_in_a_step(
    name: str, loss: str, mode: str, folder: Path
) -> None:
    with pretended_card(CARDS[name]) as card:
        ends: list[Counter[str]] = []
        run = finetune(
            folder, lambda: ends.append(Counter(card.waits)), mode=mode, metric="val_accuracy", **LOSSES[loss]
        )
        assert run.encoder.packs
        card.calls.clear()
        reports = list(run.epochs())
        assert not ends[1] - ends[0]
        kernel = KERNELS[name]
        # two layers, two batches; and two layers in the evaluation, three where a probe sees train as well
        assert card.calls[f"{kernel}_backward"] == 4
        assert card.calls[f"{kernel}_forward"] == (6 if mode == "integrated" else 8)
        others = {call for call in card.calls if "attention" in call} - {
            f"{kernel}_forward",
            f"{kernel}_backward",
        }
        assert not others
        assert len(reports) == 1
        state = run.state_dict()
        assert {value.device.type for value in state["weights"].values()} == {"cpu"}
        again = finetune(folder, mode=mode, metric="val_accuracy", **LOSSES[loss])
        again.load_state_dict(state)
        assert list(again.epochs()) == []
        assert next(again.encoder.model.parameters()).device.type == "cuda"
        del run, again
    gc.collect()


# ── faults planted on purpose: each must be found ──


def planted(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Tensor, Tensor], object]) -> None:
    """A fault in the loss of each step, which sees embeddings on the card and labels on the CPU."""
    sound = TrainingLoss.__call__

    def faulty(self: TrainingLoss, embeddings: Tensor, labels: Tensor, masks: torch.Generator):
        fault(embeddings, labels)
        return sound(self, embeddings, labels, masks)

    monkeypatch.setattr(TrainingLoss, "__call__", faulty)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda x, y: x.sum().item(), "a number is read"),
        (lambda x, y: bool(x.isnan().any()), "a number is read"),
        (lambda x, y: x.detach().cpu(), "a tensor is read"),
        (lambda x, y: y.to(x.device), "a tensor is sent"),
        (lambda x, y: x[y], "an index is sent"),
    ],
    ids=["item", "truth", "read", "blocking copy", "CPU index"],
)
def test_a_wait_in_a_step_is_found(
    fault: Callable[[Tensor, Tensor], object], found: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretended_card(HOPPER) as card:
        planted(monkeypatch, fault)
        waits = waits_of_a_step(card, folder)
    assert [what.partition(" at ")[0] for what in waits] == [found]


@pytest.mark.parametrize(
    "fault",
    [
        lambda x, y: x + torch.ones(x.shape),  # mixed devices
        lambda x, y: x[x[:, 0] > 0],  # a shape that depends on data: on a card, a wait
        lambda x, y: x.detach().nonzero(),
    ],
    ids=["mixed devices", "boolean index", "nonzero"],
)
def test_a_step_that_no_card_could_run_without_a_wait_fails(
    fault: Callable[[Tensor, Tensor], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretended_card(HOPPER):
        planted(monkeypatch, fault)
        with pytest.raises(Exception, match=r"device|data-dependent|DataDependent|DynamicOutputShape|aten\."):
            list(finetune(folder).epochs())


def test_the_way_back_is_torchs() -> None:
    """The stand-in for torch's engine, on tensors with data."""
    from tests.unit.finetune.card import walk_back

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.LayerNorm(5), torch.nn.Linear(5, 3))
    x = torch.randn(7, 4)
    loss = layer(x).tanh().square().sum() + layer[0].weight.sum() * layer(x).mean()
    expected = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    walk_back(loss)
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
