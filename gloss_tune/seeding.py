"""Seeds that depend on what they are for, and on nothing that ran before."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: object) -> int:
    """A seed of its own for each purpose.

    The same ``seed`` and ``purpose`` give the same value on every machine and in every process (unlike
    ``hash``), and two purposes give unrelated values.

    Args:
        seed: the study's seed.
        purpose: what the derived seed is for, for example ``("masking", trial_number, epoch)``.

    Returns:
        An integer in [0, 2**63), fit for ``torch.Generator.manual_seed``; take it modulo 2**32 for NumPy's
        legacy generators.
    """
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
