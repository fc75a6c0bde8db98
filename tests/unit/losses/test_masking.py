from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gloss_tune.losses import random_mask

BATCHES = st.lists(st.integers(0, 12), min_size=2, max_size=60)
RATIOS = st.floats(0.001, 0.999)
SEEDS = st.integers(0, 2**32)


def _mask(labels: list[int], ratio: float, seed: int) -> list[bool]:
    mask = random_mask(torch.tensor(labels), ratio, torch.Generator().manual_seed(seed))
    assert mask.dtype == torch.bool
    assert mask.device.type == "cpu"
    return mask.tolist()


@settings(deadline=None)
@given(labels=BATCHES, ratio=RATIOS, seed=SEEDS)
def test_hides_the_asked_part_but_neither_none_nor_all(labels: list[int], ratio: float, seed: int) -> None:
    hidden = sum(_mask(labels, ratio, seed))
    assert 1 <= hidden <= len(labels) - 1
    assert hidden == min(max(round(ratio * len(labels)), 1), len(labels) - 1)


@settings(deadline=None)
@given(labels=BATCHES, ratio=RATIOS, seed=SEEDS)
def test_who_stays_visible_first(labels: list[int], ratio: float, seed: int) -> None:
    mask = _mask(labels, ratio, seed)
    sizes = Counter(labels)
    seen = Counter(label for label, hidden in zip(labels, mask, strict=True) if not hidden)
    visible = sum(seen.values())
    large = [label for label, size in sizes.items() if size >= 2]
    alone = [label for label, size in sizes.items() if size == 1]

    shown_large, shown_alone = sum(seen[c] > 0 for c in large), sum(seen[c] for c in alone)
    assert shown_large == min(len(large), visible)
    assert shown_alone == min(len(alone), max(visible - len(large), 0))


@settings(deadline=None)
@given(labels=BATCHES, ratio=RATIOS, seed=SEEDS)
def test_the_generator_alone_decides(labels: list[int], ratio: float, seed: int) -> None:
    torch.manual_seed(1)
    first = _mask(labels, ratio, seed)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert _mask(labels, ratio, seed) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_document_has_its_turn() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    generator = torch.Generator().manual_seed(0)
    turns = torch.stack([random_mask(labels, 0.5, generator) for _ in range(2000)]).double().mean(dim=0)
    # one of each class stays visible; 5 of the 8 others are hidden: 3/4 of class 0, 5/6 of class 1 at stake
    torch.testing.assert_close(turns[:4], torch.full((4,), 0.75 * 5 / 8).double(), rtol=0, atol=0.06)
    torch.testing.assert_close(turns[4:], torch.full((6,), 5 / 6 * 5 / 8).double(), rtol=0, atol=0.06)


def test_uses_the_default_generator_without_one() -> None:
    labels = torch.arange(50) % 2
    torch.manual_seed(0)
    first, second = random_mask(labels, 0.5), random_mask(labels, 0.5)
    torch.manual_seed(0)
    assert torch.equal(random_mask(labels, 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_too_small_for_both_hides_nothing(size: int) -> None:
    assert random_mask(torch.zeros(size, dtype=torch.long), 0.9).tolist() == [False] * size


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_refuses_a_ratio_outside_its_range(ratio: float) -> None:
    with pytest.raises(ValueError, match="mask_ratio: must be above 0 and below 1, got"):
        random_mask(torch.arange(4), ratio)


def test_refuses_labels_that_are_no_vector() -> None:
    with pytest.raises(ValueError, match=r"labels must be a vector \(B,\), got shape \(2, 2\)"):
        random_mask(torch.zeros(2, 2, dtype=torch.long), 0.5)
