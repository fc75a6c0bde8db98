"""A list of checks of which none can break the others: what each one found, and how to fix what is not right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from gloss_tune.errors import GlossTuneError, StudyMismatchError
from gloss_tune.logging import redact
from gloss_tune.storage.sqlstate import outage, refusal

State = Literal["ok", "warning", "failed", "skipped"]
T = TypeVar("T")


@dataclass(frozen=True)
class Finding(Generic[T]):
    """What one look gave: a line of the list, and a value for the checks that build on it.

    Args:
        found: what was seen.
        state: ``skipped`` where there was nothing to check, or an earlier failure is in the way.
        advice: how to fix it; None where all is well, or where ``found`` is an error that says it itself.
        value: what later checks need; None where that is nothing, or where nothing was found.
        name: one word; the same from release to release. The list fills it in, and takes passwords out of the rest.
    """

    found: str
    state: State = "ok"
    advice: str | None = None
    value: T | None = None
    name: str = ""


class Checklist:
    """Makes checks one by one; an error inside a check becomes its line.

    Args:
        on_check: called with each line as soon as it is known.
        advice: by the check's name, how to fix an error that nobody foresaw.
    """

    def __init__(self, on_check: Callable[[Finding[Any]], None], advice: Mapping[str, str]) -> None:
        self.checks: list[Finding[Any]] = []
        self._on_check = on_check
        self._advice = advice

    def look(self, name: str, look: Callable[..., Finding[T]], *needs: Finding[Any]) -> Finding[T]:
        """Make one check, unless one that it needs failed or was skipped.

        Args:
            look: called at once with the values of ``needs``; what it raises is a failure.
        """
        finding = _in_the_way(needs) or self._try(name, look, needs)
        advice = None if finding.advice is None else redact(finding.advice)
        finding = replace(finding, name=name, found=redact(finding.found), advice=advice)
        self.checks.append(finding)
        self._on_check(finding)
        return finding

    def _try(self, name: str, look: Callable[..., Finding[T]], needs: tuple[Finding[Any], ...]) -> Finding[T]:
        try:
            return look(*(need.value for need in needs))
        except StudyMismatchError as error:
            return Finding("; ".join(error.differences), "failed", str(error).splitlines()[-1])
        except GlossTuneError as error:  # its message ends with the next step
            return Finding(" ".join(str(error).split()), "failed")
        except Exception as error:  # whatever is broken here, the other checks shall still be made
            if (away := outage(error)) is not None:
                return Finding(f"the storage does not answer: {away}", "failed", "try again when it is back")
            if (refused := refusal(error)) is not None:
                return Finding(f"the storage refuses: {refused[0]}", "failed", refused[1])
            return Finding(f"{type(error).__name__}: {first_line(error)}", "failed", self._advice[name])


def first_line(error: object) -> str:
    """Of an error's message, the line that names it."""
    return str(error).strip().partition("\n")[0]


def _in_the_way(needs: tuple[Finding[Any], ...]) -> Finding[Any] | None:
    need = next((need for need in needs if need.state in ("failed", "skipped")), None)
    if need is None or need.state == "skipped":
        return need
    return Finding(f"not checked, because the check of {need.name} failed", "skipped")
