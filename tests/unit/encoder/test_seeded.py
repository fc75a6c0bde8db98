"""Passes whose dropout and gradients depend on nothing that runs beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.dropout import Dropout
from gloss_tune.encoder.seeded import ConcurrentPass, SeededPass, dropout_seed
from tests.unit.finetune.tiny import write_encoder

LENGTHS = np.array([9, 7, 4])
IDS = torch.from_numpy(np.random.default_rng(0).integers(5, 40, size=LENGTHS.sum()))


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    folder = write_encoder(tmp_path / "encoder")
    return Encoder.load(resolve_encoder(str(folder)), max_length=16)


def embed(encoder: Encoder, own: SeededPass) -> Tensor:
    encoder.model.train()
    with own.entered(), torch.no_grad():
        return encoder.embed(IDS, LENGTHS)


@pytest.mark.parametrize("kind", [SeededPass, ConcurrentPass])
def test_the_seed_alone_decides_dropout(encoder: Encoder, kind: type[SeededPass]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        own = kind(5)
        first, after = embed(encoder, own), torch.rand(3)
        torch.manual_seed(2)
        assert torch.equal(embed(encoder, own), first), "entered again"
        assert torch.equal(embed(encoder, kind(5)), first), "another pass with this seed"
        assert not torch.equal(embed(encoder, kind(6)), first)
        torch.manual_seed(1)
        assert torch.equal(torch.rand(3), after), "the default generator must be as it was"


def test_outside_of_a_pass_dropout_draws_from_the_default_generator() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        expected = dropout_seed()
        with ConcurrentPass(1).entered():
            dropout_seed()
        torch.manual_seed(1)
        assert dropout_seed() == expected


def test_an_encoder_whose_dropout_is_all_ours_is_concurrent(encoder: Encoder) -> None:
    assert encoder.concurrent
    assert type(encoder.seeded_pass(0)) is ConcurrentPass
    assert not any(module.training for module in encoder.model.modules()), (
        "found out in training mode, left in evaluation"
    )


class Noisy(nn.Module):
    """A layer that draws for itself, as some architectures' own do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        states: Tensor = self.layer(*args, **kwargs)
        return nn.functional.dropout(states, 0.1, self.training)


def test_one_that_draws_for_itself_is_not(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = encoder.model[0].auto_model.encoder.layer[1]
    monkeypatch.setattr(layer, "output", Noisy(layer.output).eval())
    noisy = Encoder(encoder.model, encoder.resolved)
    assert noisy.packs
    assert not noisy.concurrent
    assert type(noisy.seeded_pass(0)) is SeededPass


def test_dropout_beside_others_is_dropout() -> None:
    layer = Dropout(0.25).train()
    with ConcurrentPass(3).entered():
        dropped = layer(torch.ones(400, 100))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
