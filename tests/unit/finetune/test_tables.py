"""Gradients of token tables as a few rows, against torch's own of the whole table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gloss_tune.finetune.tables import TokenTables

IDS = torch.tensor([[3, 5, 3], [9, 0, 5]])


class Model(nn.Module):
    """A table, and a layer behind it."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.layer = table, nn.Linear(4, 2)
        for weight in self.parameters():
            nn.init.normal_(weight)

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.layer(self.table(ids)).square().sum()
        return scores


def steps(table: nn.Module, *, rows: bool, clip_norm: float) -> tuple[list[Tensor], list[float]]:
    """Weights and norms of three steps of AdamW, of which each has other tokens."""
    model = Model(table)
    trained = list(model.parameters())
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.3, fused=True)
    tables = TokenTables(model, large=1)
    norms = []
    for step in range(3):
        ids = (IDS + step) % 12
        if not rows:
            model(ids).backward()  # type: ignore[no-untyped-call]
            norms.append(float(nn.utils.clip_grad_norm_(trained, clip_norm)))
            optimizer.step()
            optimizer.zero_grad()
            continue
        with tables.as_rows():
            for part in ids.split(1):  # gradients of chunks add up
                model(part).backward()  # type: ignore[no-untyped-call]
        assert trained[0].grad is not None
        assert trained[0].grad.is_sparse
        with tables.whole(trained, clip_norm) as norm:
            optimizer.step()
        norms.append(float(norm))
        assert all(weight.grad is None for weight in trained)
    return [weight.detach() for weight in trained], norms


@pytest.mark.parametrize("clip_norm", [0.1, 1e9])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_adamw_moves_every_row_as_torch_has_it(kind: type[nn.Module], clip_norm: float) -> None:
    ours, our_norms = steps(kind(12, 4), rows=True, clip_norm=clip_norm)
    expected, norms = steps(kind(12, 4), rows=False, clip_norm=clip_norm)
    torch.testing.assert_close(ours, expected)
    assert our_norms == pytest.approx(norms)


def test_a_row_of_padding_has_no_gradient() -> None:
    ours, _ = steps(nn.Embedding(12, 4, padding_idx=3), rows=True, clip_norm=1e9)
    expected, _ = steps(nn.Embedding(12, 4, padding_idx=3), rows=False, clip_norm=1e9)
    torch.testing.assert_close(ours, expected)


def test_small_and_frozen_scales_stay_as_they_are() -> None:
    model = nn.ModuleList(
        [nn.Embedding(3, 4), nn.Embedding(12, 4, max_norm=1.0), nn.Embedding(12, 4, scale_grad_by_freq=True)]
    )
    with TokenTables(model, large=20).as_rows():
        assert not any(table.sparse for table in model)
    greatest = nn.EmbeddingBag(12, 4, mode="max")  # has no sparse gradients
    with TokenTables(greatest, large=1).as_rows():
        assert not greatest.sparse
    with TokenTables(model, large=1).as_rows():
        assert [table.sparse for table in model] == [True, False, False]
    assert not any(table.sparse for table in model)


def test_a_frozen_table_and_one_that_is_tied_to_a_layer_train_as_in_torch() -> None:
    class Tied(Model):
        """The layer's weights are the table's."""

        def __init__(self, table: nn.Module) -> None:
            super().__init__(table)
            self.layer = nn.Linear(4, 12)
            self.layer.weight = self.table.weight  # type: ignore[assignment]

    def trained(rows: bool, frozen: bool) -> list[Tensor]:
        model = (Model if frozen else Tied)(nn.Embedding(12, 4))
        torch.manual_seed(1)
        for weight in model.parameters():
            nn.init.normal_(weight)
        if frozen:
            model.table.weight.requires_grad_(False)  # type: ignore[union-attr, operator]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer, tables = torch.optim.AdamW(weights, lr=0.1), TokenTables(model, large=1)
        for _ in range(2):
            if rows:
                with tables.as_rows():
                    model(IDS).backward()  # type: ignore[no-untyped-call]
                with tables.whole(weights, 1.0):
                    optimizer.step()
            else:
                model(IDS).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                optimizer.zero_grad()
        return [weight.detach() for weight in model.parameters()]

    for frozen in (True, False):
        torch.testing.assert_close(trained(True, frozen), trained(False, frozen))


def test_an_error_of_the_optimizer_leaves_no_gradient_behind() -> None:
    model = Model(nn.Embedding(12, 4))
    weights, tables = list(model.parameters()), TokenTables(model, large=1)
    with tables.as_rows():
        model(IDS).backward()  # type: ignore[no-untyped-call]
    with pytest.raises(MemoryError), tables.whole(weights, 1e9):
        raise MemoryError
    assert all(weight.grad is None for weight in weights)
    assert not any(bool(zeros.any()) for zeros in tables._zeros.values())
    tables.free()
    assert not tables._zeros
