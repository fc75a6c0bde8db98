import numpy as np
import pytest
import torch
from torch import nn

from gloss_tune.encoder.dropout import Dropout, draw_kept, replace_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_at_its_rate_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(1000, 1000, dtype=torch.float64)
    dropped = Dropout(p)(ones)
    lost = (dropped == 0).double()
    # n = 10⁶: five standard errors
    assert float(lost.mean()) == pytest.approx(p, abs=5 * (p * (1 - p)) ** 0.5 / 1000)
    assert float(dropped.max()) == pytest.approx(1 / (1 - p), rel=1e-4)
    for axis in (0, 1):  # neighbours in a row and in a column fall independently
        left, right = lost.narrow(axis, 0, 999), lost.narrow(axis, 1, 999)
        correlation = float(np.corrcoef(left.flatten(), right.flatten())[0, 1])
        assert abs(correlation) < 5 / 1000


def test_the_gradient_has_the_mask_of_the_forward_pass() -> None:
    x = torch.randn(50, 7, dtype=torch.float64, requires_grad=True)
    dropped = Dropout(0.3)(x)
    weights = torch.randn_like(x)
    (dropped * weights).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dropped.detach() / x.detach() * weights)


def test_torchs_own_generator_decides() -> None:
    x = torch.ones(999)
    module = Dropout(0.5)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = module(x), module(x)
    torch.set_rng_state(state)
    assert torch.equal(module(x), first), "a replayed state replays the dropout"
    assert not torch.equal(second, first)
    with torch.random.fork_rng(devices=[]):
        module(x)
    assert torch.equal(module(x), second), "a fork leaves the generator as it was"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_keeps_shape_and_dtype(dtype: torch.dtype) -> None:
    x = torch.randn(3, 1, 5, dtype=dtype).transpose(0, 2)
    dropped = Dropout(0.2)(x)
    assert dropped.dtype == dtype
    assert dropped.shape == x.shape
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (x * 1.25)[kept], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_all_or_nothing(p: float) -> None:
    x = torch.randn(9)
    torch.testing.assert_close(Dropout(p)(x), x * (1 - p))
    module = Dropout(0.5).eval()
    assert module(x) is x


def test_the_smallest_and_the_largest_rates_are_neither_none_nor_all() -> None:
    for p in (1e-9, 1 - 1e-9):
        kept, scale = draw_kept(torch.Size([1 << 20]), p)
        assert 0 < int(kept.sum()) < kept.numel()
        assert scale > 1


def test_only_plain_dropout_is_replaced() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Dropout(0.25), nn.Sequential(nn.Dropout(0.1), nn.Dropout1d(0.3))
    )
    model.eval()
    names = list(model.state_dict())
    replace_dropout(model)
    assert [type(module) for module in model[2]] == [Dropout, nn.Dropout1d]
    assert (type(model[1]), model[1].p, model[1].training) == (Dropout, 0.25, False)
    assert list(model.state_dict()) == names
