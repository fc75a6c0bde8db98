import copy

import torch
from torch import nn

from gloss_tune.encoder.lookup import Embedding


def tables(padding_idx: int | None = None) -> tuple[nn.Embedding, Embedding]:
    theirs = nn.Embedding(11, 3, padding_idx=padding_idx)
    ours = Embedding(11, 3, padding_idx=padding_idx)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def test_rows_and_gradients_are_those_of_torch() -> None:
    for padding_idx in (None, 2):
        theirs, ours = tables(padding_idx)
        optimizers = [torch.optim.SGD(table.parameters(), lr=0.5) for table in (theirs, ours)]
        for seed in range(3):  # the buffer is used again, and again from zero
            ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(seed))
            ids[0, 0] = 2
            weights = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(seed))
            for table in (theirs, ours):
                (table(ids) * weights).sum().backward()
                (table(ids[:, :4]) ** 2).sum().backward()
            torch.testing.assert_close(ours(ids), theirs(ids))
            torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            assert ours.weight.grad is None


def test_without_gradients_it_is_torchs_table() -> None:
    theirs, ours = tables()
    ids = torch.arange(11)
    with torch.no_grad():
        assert not ours(ids).requires_grad
    ours.weight.requires_grad_(False)
    assert not ours(ids).requires_grad
    torch.testing.assert_close(ours(ids), theirs(ids))


def test_the_buffer_is_no_part_of_the_model() -> None:
    theirs, ours = tables()
    ours(torch.tensor([1])).sum().backward()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    other = copy.deepcopy(ours)
    other(torch.tensor([2])).sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad[2].eq(0).all(), "a copy has a gradient of its own"
