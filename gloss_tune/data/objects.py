"""Reads records of JSON: an object a line, arrays of objects, columns as pandas writes them, doccano, Label Studio."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gloss_tune.data.records import Record, Table

_SPACE = " \t\r\n"
_SPACES = re.compile(r"[ \t\r\n]*")


def read_json(lines: Iterator[str], name: str, wanted: Sequence[str]) -> Table:
    """The records of JSON; those of one object a line are read as they are asked for.

    Args:
        lines: with their ends, which are line feeds: other characters that end a line may stand inside of a string.
        name: for messages.
        wanted: columns that the user names.
    """
    blank: list[str] = []
    first = ""
    for first in lines:
        if first.strip():
            break
        blank.append(first)
    if not first.strip():
        return Table(name, "jsonl", "line", None, iter(()))
    value, fault = _parsed(first)
    if fault is None and isinstance(value, dict) and _is_record(value, wanted):
        return Table(name, "jsonl", "line", None, _lines(itertools.chain(blank, [first], lines), name))
    rest = list(lines)
    values = _values("".join([first, *rest]))
    if values is not None and (objects := _unfolded(values, wanted)) is not None:
        return Table(name, "json", "record", None, _objects(objects, name))
    whole = [*blank, first, *rest]
    return Table(name, "jsonl", "line", None, _lines(iter(whole), name))


def _lines(lines: Iterator[str], name: str) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip(_SPACE):
            yield Record(number, {})
            continue
        value, fault = _parsed(line)
        if fault is not None:
            said = f"Each line of {name} is a JSON object, but line {number} is malformed ({fault}). Mend or remove it."
            yield Record(number, {}, said)
        elif not isinstance(value, dict):
            fault = (
                f'Each line of {name} is a JSON object such as {{"text": …, "label": …}}, but line {number} is not. '
                "Mend or remove it."
            )
            yield Record(number, {}, fault)
        else:
            yield _record(number, value)


def _objects(objects: Sequence[Any], name: str) -> Iterator[Record]:
    for number, value in enumerate(objects, start=1):
        if isinstance(value, dict):
            yield _record(number, value)
        else:
            fault = (
                f'Each record of {name} is a JSON object such as {{"text": …, "label": …}}, but number {number} is '
                "not. Mend or remove it."
            )
            yield Record(number, {}, fault)


def _parsed(line: str) -> tuple[Any, str | None]:
    try:
        return json.loads(line, parse_int=_integer), None
    except json.JSONDecodeError as error:
        return None, f"{error.msg}, column {error.colno}"
    except RecursionError:
        return None, "nested too deep"


def _integer(digits: str) -> int | str:
    """A number of more digits than Python turns into one stays text."""
    try:
        return int(digits)
    except ValueError:
        return digits


def _values(text: str) -> list[Any] | None:
    """The values that stand one after the other; None if it is no JSON."""
    decoder = json.JSONDecoder(parse_int=_integer)
    found, at = [], _end_of_space(text, 0)
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found.append(value)
            at = _end_of_space(text, at)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found


def _end_of_space(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at


def _is_record(value: Mapping[str, Any], wanted: Sequence[str]) -> bool:
    """Whether an object is one record, and no table of them."""
    return not any(isinstance(value.get(column), list | dict) for column in wanted[:1]) and (
        any(column in value for column in wanted) or _table(value, wanted) is None
    )


def _unfolded(values: Sequence[Any], wanted: Sequence[str]) -> Sequence[Any] | None:
    """The objects that a file of values means; None if none of the shapes fits."""
    if len(values) > 1:
        return values if all(isinstance(value, dict) for value in values) else None
    (value,) = values
    if isinstance(value, list):
        return value if not value or any(isinstance(item, dict) for item in value) else None
    if not isinstance(value, dict):
        return None
    return [value] if _is_record(value, wanted) else _table(value, wanted)


def _table(value: Mapping[str, Any], wanted: Sequence[str]) -> Sequence[Any] | None:
    """The records of an object that holds a whole table."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(columns, row, strict=False)) for row in data]
    given = [value.get(column) for column in wanted if column in value]
    if given and all(isinstance(column, list) for column in given):
        lists = {name: column for name, column in value.items() if isinstance(column, list)}
        return [
            {name: column[at] for name, column in lists.items() if at < len(column)}
            for at in range(max(map(len, lists.values())))
        ]
    if given and all(isinstance(column, dict) for column in given):
        keys = dict.fromkeys(key for column in given if isinstance(column, dict) for key in column)
        whole = {name: column for name, column in value.items() if isinstance(column, dict)}
        return [{name: column.get(key) for name, column in whole.items()} for key in keys]
    tables = [item for item in value.values() if _is_list_of_objects(item)]
    if len(tables) == 1:
        return [row["row"] if isinstance(row.get("row"), dict) else row for row in tables[0]]
    if value and all(isinstance(item, dict) and wanted[0] in item for item in value.values()):
        return list(value.values())
    return None


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def flattened(value: dict[str, Any]) -> dict[str, Any]:
    """An object with what annotation tools put one floor deeper: a task's data, and the choices of its annotations.

    Label Studio's export has ``{"data": {"text": …}, "annotations": [{"result": [{"from_name": …, "value":
    {"choices": […]}}]}]}``; doccano's older one ``{"text": …, "annotations": [{"label": …}]}``.
    """
    annotations = value.get("annotations", value.get("completions"))
    data = value.get("data")
    if not isinstance(data, dict) and not isinstance(annotations, list):
        return value
    found = {**value, **data} if isinstance(data, dict) else dict(value)
    chosen: dict[str, list[Any]] = {}
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        if isinstance(annotation.get("label"), str | int):
            chosen.setdefault("label", []).append(annotation["label"])
        results = annotation.get("result")
        for result in results if isinstance(results, list) else ():
            choices = result.get("value", {}).get("choices") if isinstance(result, dict) else None
            if isinstance(choices, list):
                chosen.setdefault(str(result.get("from_name", "label")), []).extend(choices)
    for column, labels in chosen.items():
        found.setdefault(column, list(dict.fromkeys(labels)))
    if len(chosen) == 1:
        found.setdefault("label", found[next(iter(chosen))])
    return found


def _record(number: int, value: dict[str, Any]) -> Record:
    values = flattened(value)
    for column, item in values.items():
        if isinstance(item, str) and not item.isascii():
            try:
                item.encode()
            except UnicodeEncodeError:
                # JSON can spell half of a surrogate pair, which is no character and which no tokenizer takes
                values = {**values, column: item.encode("utf-8", "replace").decode()}
    fault = None if values else f"The JSON object number {number} is empty. Fill it in or remove it."
    return Record(number, values, fault)
