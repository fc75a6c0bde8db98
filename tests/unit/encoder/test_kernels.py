"""What CUDA computes with, proved without a card: arguments, heads, boundaries and scale, against the definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from gloss_tune.encoder import attention, kernels
from gloss_tune.encoder.layout import Layout
from tests.unit.encoder.stand_ins import attention as by_definition
from tests.unit.encoder.stand_ins import kernels_on_cpu

CPU = torch.device("cpu")
LENGTHS = np.array([9, 8, 8, 7, 3, 3, 1])
TOTAL, HEADS, WIDTH = int(LENGTHS.sum()), 2, 8


@pytest.fixture
def calls() -> Iterator[Counter[str]]:
    with kernels_on_cpu() as counted:
        yield counted


def qkv(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # as a layer's projections give them: (1, T, H · d), seen as (1, H, T, d)
    flat = [
        torch.randn(1, TOTAL, HEADS * WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]
    return flat


def heads(tensor: Tensor) -> Tensor:
    return tensor.view(1, TOTAL, HEADS, WIDTH).transpose(1, 2)


@pytest.mark.parametrize(
    ("kernel", "window"),
    [("flash", None), ("flash", 2), ("efficient", None), ("padded", None), ("padded", 2), ("jagged", None)],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_kernels_output_and_gradients_are_those_of_the_definition(
    kernel: str, window: int | None, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "kernel_for", lambda query, window: getattr(kernels, kernel))
    layout, scale = Layout(LENGTHS, CPU), 0.3
    ours, theirs = qkv(), qkv()
    weights = torch.randn(1, TOTAL, HEADS, WIDTH, dtype=torch.float64)
    found = kernels.attend(*map(heads, ours), layout, scale, 0.0, window)
    flat = (tensor.view(TOTAL, HEADS, WIDTH) for tensor in theirs)
    expected = by_definition(*flat, layout.offsets.tolist(), scale, window)[None]
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)
    if kernel in ("flash", "efficient"):
        assert calls[f"{kernel} forward"] == calls[f"{kernel} backward"] == 1


def test_the_efficient_kernel_keeps_what_a_gradient_needs_only_where_one_is_wanted(
    calls: Counter[str],
) -> None:
    layout, tensors = Layout(LENGTHS, CPU), [tensor.view(1, TOTAL, HEADS, WIDTH) for tensor in qkv()]
    kernels.efficient(*tensors, layout, 1.0, 0.0)
    assert calls["with gradient"] == 1
    with torch.inference_mode():
        kernels.efficient(*tensors, layout, 1.0, 0.0)
    kernels.efficient(*(tensor.detach() for tensor in tensors), layout, 1.0, 0.0)
    assert calls["with gradient"] == 1
    assert calls["efficient forward"] == 3


@pytest.mark.parametrize("kernel", ["flash", "efficient"])
def test_a_whole_encoder_embeds_and_learns_as_with_its_own_attention(
    kernel: str, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    attention.register()
    config._attn_implementation = attention.NAME
    torch.manual_seed(0)
    model = BertModel(config, add_pooling_layer=False).double().eval()
    ids = torch.randint(50, (TOTAL,))
    layout = Layout(LENGTHS, CPU)

    def run() -> tuple[Tensor, list[Tensor]]:
        states = model(
            input_ids=ids[None], position_ids=layout.positions[None], layout=layout
        ).last_hidden_state
        return states, list(torch.autograd.grad(states.square().sum(), list(model.parameters())))

    expected = run()
    monkeypatch.setattr(attention, "attend_in_runs", kernels.attend)
    monkeypatch.setattr(kernels, "kernel_for", lambda query, window: getattr(kernels, kernel))
    torch.testing.assert_close(run(), expected)
    assert calls[f"{kernel} backward"] == 2


@pytest.mark.parametrize(
    ("dtype", "capability", "width", "window", "kernel"),
    [
        (torch.bfloat16, (9, 0), 64, None, kernels.flash),
        (torch.float16, (8, 0), 32, None, kernels.flash),
        (torch.bfloat16, (9, 0), 64, 64, kernels.flash),
        (torch.float32, (9, 0), 64, None, kernels.efficient),
        (torch.float32, (9, 0), 64, 64, kernels.padded),
        (torch.float16, (7, 5), 64, None, kernels.efficient),
        (torch.float16, (7, 5), 64, 8, kernels.padded),
        (torch.bfloat16, (8, 6), 256, None, kernels.efficient),
        (torch.bfloat16, (8, 0), 20, None, kernels.efficient),
    ],
)
def test_the_kernel_suits_precision_card_and_heads(
    dtype: torch.dtype,
    capability: tuple[int, int],
    width: int,
    window: int | None,
    kernel: kernels.Kernel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Query:
        device = torch.device("cuda:0")
        shape = (1, 8, 2, width)

    Query.dtype = dtype
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(kernels, "_has_flash", lambda device: True)
    assert kernels.kernel_for(Query(), window) is kernel
    monkeypatch.setattr(kernels, "_has_flash", lambda device: False)
    assert kernels.kernel_for(Query(), window) is not kernels.flash


def test_a_build_without_the_kernel_is_found_out_and_a_lost_card_is_no_such_thing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(*_: object) -> Tensor:
        raise RuntimeError("USE_FLASH_ATTENTION was not enabled for build.")

    def lost(*_: object) -> Tensor:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(kernels, "flash", without)
    assert not kernels._has_flash.__wrapped__(CPU)
    monkeypatch.setattr(kernels, "flash", lost)
    with pytest.raises(RuntimeError, match="launch failure"):
        kernels._has_flash.__wrapped__(CPU)


def test_boundaries_are_made_once_a_layout_and_are_what_kernels_take() -> None:
    layout = Layout(LENGTHS, CPU)
    assert layout.boundaries is layout.boundaries
    assert layout.boundaries.dtype == torch.int32
    assert layout.boundaries.tolist() == [0, *np.cumsum(LENGTHS)]


def test_what_autocast_does_for_torchs_attention_is_done_for_its_kernels() -> None:
    seen = []

    def kernel(query: Tensor, *_: object) -> Tensor:
        seen.append(query.dtype)
        return query

    layout = Layout(LENGTHS, CPU)
    tensors = [heads(tensor.detach().float()) for tensor in qkv()]
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(kernels, "kernel_for", lambda query, window: kernel)
        kernels.attend(*tensors, layout, 1.0, 0.0)
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize(("sliding_window", "passed"), [(None, None), (4, 3), (9, None), (10, None)])
def test_a_window_as_wide_as_every_document_is_none(
    sliding_window: int | None, passed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(query: Tensor, *rest: object) -> Tensor:
        assert rest[-1] == passed
        return query

    monkeypatch.setattr(attention, "attend_in_runs", compute)
    attention.attention_forward(
        nn.Identity(), *map(heads, qkv()), None, layout=Layout(LENGTHS, CPU), sliding_window=sliding_window
    )
