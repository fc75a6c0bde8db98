import pytest
import torch
from torch import nn

from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.optimizer import build_optimizer, rate_factor, set_rate


def test_only_encoder_matrices_decay_and_the_head_has_its_own_rate() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    head = nn.Linear(4, 2)
    config = FinetuneConfig(learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1)
    optimizer = build_optimizer(config, encoder, head)
    of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert of[id(encoder[0].weight)] == (1e-4, 0.1)
    assert of[id(encoder[0].bias)] == of[id(encoder[1].weight)] == of[id(encoder[1].bias)] == (1e-4, 0.0)
    assert of[id(head.weight)] == of[id(head.bias)] == (1e-2, 0.0)


def test_the_probe_of_standalone_mode_is_not_trained_by_it() -> None:
    encoder, head = nn.Linear(4, 4), nn.Linear(4, 2)
    optimizer = build_optimizer(FinetuneConfig(mode="standalone"), encoder, head)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == set(map(id, encoder.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    encoder[0].requires_grad_(False)
    optimizer = build_optimizer(FinetuneConfig(mode="standalone"), encoder, nn.Linear(4, 2))
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.1, 0.5])
def test_the_rate_rises_linearly_to_its_peak_and_falls_linearly_to_zero(warmup_ratio: float) -> None:
    steps = 1000
    factors = torch.tensor([rate_factor((i + 0.5) / steps, warmup_ratio) for i in range(steps)])
    warm = int(warmup_ratio * steps)
    rising, falling = factors[:warm], factors[warm:]
    assert ((factors > 0) & (factors <= 1)).all()
    assert factors.max() > 0.998
    assert factors[-1] < 0.002
    for part in (rising, falling):
        torch.testing.assert_close(part.diff().diff(), torch.zeros(max(0, len(part) - 2)), atol=1e-6, rtol=0)
    assert (rising.diff() > 0).all()
    assert (falling.diff() < 0).all()


def test_set_rate_keeps_the_ratio_of_head_and_encoder() -> None:
    config = FinetuneConfig(learning_rate=1e-4, head_learning_rate=1e-2)
    optimizer = build_optimizer(config, nn.Linear(4, 4), nn.Linear(4, 2))
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.5e-5, 2.5e-5, 2.5e-3])
