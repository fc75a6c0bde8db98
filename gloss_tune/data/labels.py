"""One rule for the labels of all formats: what is the same class to people is the same class here.

White space around a label, characters that show nothing, and double quotes around the whole are no part of it. Numbers
are labels by their digits, and a whole number is the same with a point: ``1``, ``1.0`` and ``"1"`` are the class ``1``.
"""

from __future__ import annotations

import decimal
import math
import re
from typing import Any

_WHOLE = re.compile(r"(-?\d+)\.0+")
_UNSEEN = dict.fromkeys(map(ord, "\u200b\ufeff\u2060\u00ad"))
_JOINERS = "\u200c\u200d"  # inside of a word they have a meaning


def label_of(value: Any, *, as_before: bool = False) -> str:
    """The label that a value of a file means; nothing (an empty string) where there is none.

    Args:
        value: text, a number, or a list of one of them.
        as_before: by the rule of release 0.1, for studies that were made by it: text is only freed of white space.

    Raises:
        ValueError: it is neither text nor a number, nor a list of one such.
    """
    if isinstance(value, str):
        return value.strip() if as_before else _tidy(value)
    if value is None:
        return ""
    if isinstance(value, float | decimal.Decimal):
        if math.isnan(value):
            return ""
        # a column of whole numbers with a gap in it arrives as floats
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple) and len(value) < 2:  # as doccano writes it
        return label_of(value[0]) if value else ""
    raise ValueError(f"{value!r:.60}")


def _tidy(label: str) -> str:
    if not label.isascii():
        label = label.translate(_UNSEEN)
        label = label.strip().strip(_JOINERS)
    label = label.strip()
    if len(label) > 1 and label[0] == label[-1] == '"' and '"' not in label[1:-1]:
        label = label[1:-1].strip()
    whole = _WHOLE.fullmatch(label)
    return label if not whole else "0" if whole.group(1) == "-0" else whole.group(1)
