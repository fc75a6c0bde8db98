"""Bytes as lines of text: which encoding a file has, and what to advise where it is not the one that it should be."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator

from gloss_tune.errors import DataError
from gloss_tune.wording import listed

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = "utf-8-sig"
_ENOUGH = 1 << 16  # bytes to tell an encoding by
_ASCII = frozenset(b"\t\n\r" + bytes(range(32, 127)))
# what is no UTF-8 arrives as halves of surrogate pairs, which UTF-8 cannot spell
_STRAY = re.compile("[\udc80-\udcff]")
_SEVERAL_BYTES = re.compile("[^\0-\x7f\udc80-\udcff]")


def encoding_of(head: bytes, asked: str | None) -> str:
    """The encoding to read a file by.

    Args:
        head: its first bytes.
        asked: what the user says, which wins.

    Returns:
        ``utf-8-sig``, unless a byte order mark or the places of zero bytes say that it is another Unicode.

    Raises:
        DataError: there is no encoding of the name asked for.
    """
    if asked is not None:
        return _known(asked)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return _by_zeros(head) or _UTF8


def _by_zeros(head: bytes) -> str | None:
    """Which Unicode of several bytes a character the places of zero bytes speak of; a few in UTF-8 do not."""
    head = head[:_ENOUGH]
    if 0 not in head:
        return None
    zeros = [head[at::4].count(0) for at in range(4)]
    quarter = len(head) // 4
    for name, (low, _, high, highest) in (("utf-32-le", zeros), ("utf-32-be", zeros[::-1])):
        if quarter and highest >= quarter and 2 * high > quarter > 2 * low:
            return name
    pairs = list(zip(head[0::2], head[1::2], strict=False))
    little = sum(high == 0 and low in _ASCII for low, high in pairs)
    big = sum(high == 0 and low in _ASCII for high, low in pairs)
    # Chinese has zeros in its separators and line ends, and in a sign or two; but then the bytes are no UTF-8 either
    least = len(pairs) / (3 if _is_utf8(head) else 50)
    if max(little, big) > max(least, 2 * min(little, big)):
        return "utf-16-le" if little > big else "utf-16-be"
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def decoded_lines(
    stream: io.BufferedReader, name: str, encoding: str, newline: str | None, *, whole: bool
) -> Iterator[str]:
    """The lines of a stream, each with its end.

    Args:
        stream: left open.
        name: for messages.
        encoding: by which it is read.
        newline: as :class:`io.TextIOWrapper` takes it.
        whole: whether the stream ends by itself soon, so that a message can count all the lines that are wrong.

    Raises:
        DataError: a line is not of this encoding.
    """
    utf8 = encoding == _UTF8
    wrapper = io.TextIOWrapper(stream, encoding, "surrogateescape" if utf8 else "strict", newline)
    number, several_bytes = 0, False
    try:
        for number, line in enumerate(wrapper, start=1):
            if utf8 and not line.isascii():
                if _STRAY.search(line):
                    raise _not_utf8(name, number, line, wrapper if whole else iter(()), several_bytes)
                several_bytes = True
            yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeError as error:
        why = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"{name} is not text of the encoding {encoding}: {why}, near line {number + 1}. Name its own encoding "
            "with --encoding, or convert it to UTF-8."
        ) from None


def _known(asked: str) -> str:
    try:
        found = codecs.lookup(asked)
    except (LookupError, ValueError):
        found = None
    if found is None or not getattr(found, "_is_text_encoding", True):
        raise DataError(
            f"An encoding is one that Python knows, got {asked!r}. Give for example utf-8, cp1252, utf-16 or gb18030."
        )
    return _UTF8 if found.name == "utf-8" else found.name


def _not_utf8(name: str, first: int, line: str, rest: Iterator[str], several_bytes: bool) -> DataError:
    places, samples = [first], [line]
    for number, other in enumerate(rest, start=first + 1):
        if _STRAY.search(other):
            places.append(number)
            samples.append(other[:200])
        elif not other.isascii():
            several_bytes = True
    stray = _STRAY.search(line)
    assert stray is not None
    said = (
        f"Text files are UTF-8, but line {first} of {name} is not (byte 0x{ord(stray.group()) - 0xDC00:02x})"
    )
    if len(places) > 1:
        said += f", nor {'is' if len(places) == 2 else 'are'} {listed(places[1:], 'line')}"
    if several_bytes or any(_SEVERAL_BYTES.search(sample) for sample in samples):
        return DataError(
            f"{said}, while others are: no one encoding is right for the whole file. Mend or remove what is not UTF-8."
        )
    return DataError(f"{said}. {_advice(samples)}")


def _advice(samples: list[str]) -> str:
    raw = b"".join(sample.encode("utf-8", "surrogateescape") for sample in samples)
    try:
        shown = _around(raw.decode("cp1252"))
    except UnicodeDecodeError:  # five bytes mean nothing in it
        return (
            "It is not cp1252 (Windows, Western Europe) either. Name its encoding, such as --encoding gb18030, "
            "shift_jis, cp1251 or mac_roman; or convert it to UTF-8."
        )
    return (
        f"Read as cp1252 (Windows, Western Europe), it says {shown!r}: if that is right, add --encoding cp1252, or "
        "convert it with: iconv -f CP1252 -t UTF-8. If not, name its own encoding, such as cp1250, cp1251, gb18030 or "
        "shift_jis."
    )


def _around(text: str, most: int = 12) -> str:
    """A few characters on both sides of the first that is not ASCII."""
    at = next(position for position, character in enumerate(text) if not character.isascii())
    return " ".join(text[max(0, at - most) : at + most].split())
