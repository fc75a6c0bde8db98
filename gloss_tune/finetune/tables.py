"""Large tables of token embeddings on a CPU: a batch's gradient is a few of their rows, and is computed as those.

A batch of MR has some 1,200 of MiniLM's 30,522 tokens. A gradient of the whole table, half of all weights, is nearly
all zeros, which each chunk would write anew, and which would be added up, measured and clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

#: numbers of a table; a smaller one is not worth it
_LARGE = 1_000_000


class TokenTables:
    """The large tables of an encoder; without any, and on other devices, everything is as torch has it.

    Args:
        model: the encoder.
        large: numbers that a table has at least.
    """

    def __init__(self, model: nn.Module, large: int = _LARGE) -> None:
        self._tables = [
            module
            for module in model.modules()
            if isinstance(module, nn.Embedding | nn.EmbeddingBag)
            and module.weight.numel() >= large
            and module.weight.device.type == "cpu"
            and module.max_norm is None
            and not module.scale_grad_by_freq
            and getattr(module, "mode", "mean") != "max"
        ]
        self._zeros: dict[nn.Parameter, Tensor] = {}

    @contextmanager
    def as_rows(self) -> Iterator[None]:
        """Give the tables sparse gradients in here."""
        before = [table.sparse for table in self._tables]
        for table in self._tables:
            table.sparse = True
        try:
            yield
        finally:
            for table, sparse in zip(self._tables, before, strict=True):
                table.sparse = sparse

    def free(self) -> None:
        """Give back the memory that steps use again and again."""
        self._zeros.clear()

    @contextmanager
    def whole(self, trained: Sequence[nn.Parameter], clip_norm: float) -> Iterator[Tensor]:
        """Clip all gradients, then let the optimizer see those of whole tables in here; it moves every row.

        AdamW decays weights and moments of rows that a batch does not have, too.

        Args:
            trained: all weights that have a gradient; they have none afterwards.
            clip_norm: what their norm is to be at most.

        Yields:
            Scalar, the norm before.
        """
        sparse = {p: p.grad.coalesce() for p in trained if p.grad is not None and p.grad.is_sparse}
        if sparse:
            norm = _clip(
                [sparse[p].values() if p in sparse else p.grad for p in trained if p.grad is not None],
                clip_norm,
            )
        else:
            norm = nn.utils.clip_grad_norm_(trained, clip_norm)
        for parameter, rows in sparse.items():
            if parameter not in self._zeros:
                self._zeros[parameter] = torch.zeros_like(parameter, requires_grad=False)
            parameter.grad = self._zeros[parameter].index_copy_(0, rows.indices()[0], rows.values())
        try:
            yield norm
        finally:
            for parameter, rows in sparse.items():
                self._zeros[parameter].index_fill_(0, rows.indices()[0], 0.0)
            for parameter in trained:
                parameter.grad = None


def _clip(gradients: Sequence[Tensor], clip_norm: float) -> Tensor:
    """As torch's ``clip_grad_norm_``, which takes no sparse gradients."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm
