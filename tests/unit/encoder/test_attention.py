"""Attention over documents end to end, against each document by itself from first principles."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gloss_tune.encoder import attention
from gloss_tune.encoder import buckets as runs
from gloss_tune.encoder.layout import Layout
from tests.unit.encoder.stand_ins import attention as by_definition

HEADS, WIDTH = 2, 4
CPU = torch.device("cpu")
LENGTHS = np.array([9, 8, 8, 7, 3, 3, 1])  # runs with padding, without, and of one document


def qkv(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, HEADS, int(LENGTHS.sum()), WIDTH)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)]


def packed(tensors: list[Tensor], **changes: object) -> Tensor:
    found, weights = attention.attention_forward(
        nn.Identity(), *tensors, None, layout=Layout(LENGTHS, CPU), **changes
    )
    assert weights is None
    return found


def one_by_one(tensors: list[Tensor], scale: float = WIDTH**-0.5) -> Tensor:
    """softmax(scale · Q Kᵀ) V of each document and head, (1, T, H, d)."""
    outputs, start = [], 0
    for length in LENGTHS:
        q, k, v = (tensor[0, :, start : start + length] for tensor in tensors)
        weights = torch.softmax(torch.einsum("hid,hjd->hij", q, k) * scale, dim=-1)
        outputs.append(torch.einsum("hij,hjd->ihd", weights, v))
        start += length
    return torch.cat(outputs)[None]


@pytest.fixture(params=["many scores", "few scores"])
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "few scores":
        monkeypatch.setattr(runs, "_SCORES", 100)


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_each_document_sees_itself_alone(scaling: float | None) -> None:
    tensors = qkv()
    expected = one_by_one(tensors, WIDTH**-0.5 if scaling is None else scaling)
    torch.testing.assert_close(packed(tensors, scaling=scaling), expected)
    other = [tensor.detach().clone() for tensor in tensors]
    other[1][0, :, 9:17] *= 2.0
    changed = (packed(other) - packed(tensors)).abs().amax(dim=(0, 2, 3)) > 1e-9
    assert changed.nonzero().flatten().tolist() == list(range(9, 17))


@pytest.mark.usefixtures("_cut")
def test_gradients_equal_those_of_each_document_by_itself() -> None:
    weights = torch.randn(1, int(LENGTHS.sum()), HEADS, WIDTH, dtype=torch.float64)
    ours, theirs = qkv(1), qkv(1)
    (packed(ours) * weights).sum().backward()
    (one_by_one(theirs) * weights).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_gradients_with_dropout_are_those_of_what_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By finite differences; the same elements are dropped in each evaluation."""

    def compute(*tensors: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return packed(list(tensors), dropout=0.4)

    tensors = qkv(2)
    assert not torch.allclose(compute(*tensors), one_by_one(tensors))
    assert torch.autograd.gradcheck(compute, tensors, fast_mode=True)


def test_dropout_keeps_the_mean() -> None:
    tensors = [tensor.detach() for tensor in qkv(3)]
    torch.manual_seed(0)
    draws = torch.stack([packed(tensors, dropout=0.2) for _ in range(1000)])
    error = draws.std(dim=0) / 1000**0.5
    assert ((draws.mean(dim=0) - one_by_one(tensors)).abs() <= 5 * error + 1e-4).all()


def test_bfloat16_stays_close() -> None:
    tensors = qkv(4)
    half = [tensor.detach().bfloat16().requires_grad_() for tensor in tensors]
    found = packed(half)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), one_by_one(tensors), rtol=0.03, atol=0.03)


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("sliding_window", [1, 3, 7])
@pytest.mark.parametrize("lanes", [1, 16])
def test_in_a_window_a_token_sees_its_neighbours_alone(
    sliding_window: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "lanes", lambda dtype: lanes)
    weights = torch.randn(1, int(LENGTHS.sum()), HEADS, WIDTH, dtype=torch.float64)
    ours, theirs = qkv(7), qkv(7)
    found = packed(ours, sliding_window=sliding_window)
    tokens = (tensor.squeeze(0).transpose(0, 1) for tensor in theirs)
    boundaries = [0, *np.cumsum(LENGTHS).tolist()]
    expected = by_definition(*tokens, boundaries, WIDTH**-0.5, sliding_window - 1)[None]
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


class Causal(nn.Module):
    is_causal = True


@pytest.mark.parametrize(
    ("module", "wishes"),
    [(nn.Identity(), {"position_bias": 4}), (nn.Identity(), {"softcap": 2.0}), (Causal(), {})],
)
def test_what_is_not_plain_attention_is_refused(module: nn.Module, wishes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="plain and in both directions"):
        attention.attention_forward(module, *qkv(), None, layout=Layout(LENGTHS, CPU), **wishes)


@pytest.mark.parametrize("lanes", [1, 16, 32])
def test_runs_hold_every_document_once_with_little_padding(lanes: int) -> None:
    lengths = np.sort(np.random.default_rng(0).integers(1, 128, size=200))[::-1].copy()
    cut = Layout(lengths, CPU).runs(lanes)
    assert sum(run.documents for run in cut) == 200
    assert [run.tokens.start for run in cut[1:]] == [run.tokens.stop for run in cut[:-1]]
    assert cut[-1].tokens.stop == lengths.sum()
    assert sum(run.documents * run.queries for run in cut) < 1.3 * lengths.sum()
    assert max(run.documents * run.queries * run.keys for run in cut) <= runs._SCORES
    assert all(run.keys == max(run.queries, lanes) for run in cut)


@pytest.mark.parametrize("lanes", [1, 4, 32])
def test_keys_that_fill_a_vector_change_nothing(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "lanes", lambda dtype: lanes)
    weights = torch.randn(1, int(LENGTHS.sum()), HEADS, WIDTH, dtype=torch.float64)
    ours, theirs = qkv(6), qkv(6)
    found, expected = packed(ours), one_by_one(theirs)
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_a_vector_holds_fewer_wide_numbers() -> None:
    assert runs.lanes(torch.bfloat16) == 2 * runs.lanes(torch.float32) >= 8
