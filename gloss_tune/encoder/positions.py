"""How many tokens a document may have: the rows of the table of positions, found by watching which rows are read.

Configurations say it in many ways, some of them wrongly (relative positions, windows, numbers that begin after the
padding's); a look-up past the end of a table says it for sure.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gloss_tune.encoder.passes import Pass

_SHORT, _LONG = 5, 9


class _RowsRead(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the highest row that is read from each table: address → (rows, highest row)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.highest: dict[int, tuple[int, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.embedding.default and args[1].numel():
            table, rows = args[0], args[1]
            _, before = self.highest.get(table.data_ptr(), (0, 0))
            self.highest[table.data_ptr()] = (len(table), max(before, int(rows.max())))
        return func(*args, **(kwargs or {}))


def longest_input(alone: Pass, token: int, wanted: int) -> int | None:
    """Tokens of a document at most, if that is less than what is wanted; None where it is not.

    Args:
        alone: takes a document by itself; on the CPU, where reading past a table's end is an error and no more.
        token: id of any ordinary token.
        wanted: tokens.
    """
    short, long = (_rows_read(alone, token, length) for length in (_SHORT, _LONG))
    limits = sorted(
        rows - (highest - (_LONG - 1))
        for address, (rows, highest) in long.items()
        if address in short and highest - short[address][1] == _LONG - _SHORT
    )
    for limit in limits:
        if limit < wanted and not _takes(alone, token, limit + 1):
            return limit
    return None


def _rows_read(alone: Pass, token: int, length: int) -> dict[int, tuple[int, int]]:
    tables = _RowsRead()
    with torch.inference_mode(), tables:
        alone(*_document(token, length))
    return tables.highest


def _takes(alone: Pass, token: int, length: int) -> bool:
    try:
        with torch.inference_mode():
            alone(*_document(token, length))
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


def _document(token: int, length: int) -> tuple[Tensor, Any]:
    import numpy as np

    from gloss_tune.encoder.layout import Layout

    return torch.full((length,), token), Layout(np.array([length]), torch.device("cpu"))
