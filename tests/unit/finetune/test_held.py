"""How much a GPU holds at once, from what is free; and where the best epoch's weights are kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gloss_tune.finetune import gradients, weights
from gloss_tune.finetune.memory import OutOfMemory

GB = 10**9


def encoder(device: str, layers: int | None = 6, width: int = 384) -> SimpleNamespace:
    config = SimpleNamespace(num_hidden_layers=layers, hidden_size=width)
    first = SimpleNamespace(auto_model=SimpleNamespace(config=config))
    return SimpleNamespace(device=torch.device(device), model=[first])


def held(monkeypatch: pytest.MonkeyPatch, free: int | None, enabled: bool = True, **changes: object) -> int:
    monkeypatch.setattr(gradients, "free_bytes", lambda device: free)
    context = torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16, enabled)
    return gradients._most_held(encoder(**{"device": "cuda:0", **changes}), context)


def test_activations_are_held_as_far_as_half_of_the_free_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    # measured in bfloat16: 0.10 MB a token of MiniLM, 0.40 of BERT-base
    assert held(monkeypatch, 80 * GB) == pytest.approx(40 * GB / 0.1e6, rel=0.1)
    assert held(monkeypatch, 80 * GB, layers=12, width=768) == pytest.approx(40 * GB / 0.4e6, rel=0.1)
    assert held(monkeypatch, 80 * GB, enabled=False) == pytest.approx(20 * GB / 0.1e6, rel=0.1)
    assert held(monkeypatch, 2 * GB) < 16_000


def test_without_a_word_on_memory_or_size_it_is_a_fixed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(monkeypatch, None) == held(monkeypatch, 80 * GB, layers=None) == 65536
    assert held(monkeypatch, 80 * GB, device="cpu") == 32768


class Model(torch.nn.Linear):
    pass


def kept(
    monkeypatch: pytest.MonkeyPatch, short: bool
) -> tuple[dict[str, torch.Tensor], Model, torch.nn.Linear]:
    model, head = Model(2, 2), torch.nn.Linear(2, 1)
    if short:
        monkeypatch.setattr(weights, "attempt", lambda compute: OutOfMemory("full"))
    fake = SimpleNamespace(device=torch.device("cuda:0"), model=model)
    fake.weights = lambda: {name: value.detach().clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(weights, "free_memory", lambda device: None)
    return weights.kept_weights(fake, head), model, head


@pytest.mark.parametrize("short", [False, True])
def test_kept_weights_are_a_copy_whether_or_not_the_device_has_room(
    short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, model, head = kept(monkeypatch, short)
    assert found.keys() == {"encoder.weight", "encoder.bias", "head.weight", "head.bias"}
    before = {name: value.clone() for name, value in found.items()}
    with torch.no_grad():
        model.weight.add_(1)
        head.bias.add_(1)
    for name, value in weights.on_cpu(found).items():
        assert torch.equal(value, before[name])
