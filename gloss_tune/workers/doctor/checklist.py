"""A list of checks of which none can break the others: what each one found, and how to mend what is not right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from gloss_tune.errors import GlossTuneError, StudyMismatchError
from gloss_tune.logging import redact

State = Literal["ok", "warning", "failed", "skipped"]
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One line of the list.

    Args:
        name: one word; the same from release to release.
        state: ``skipped`` where there was nothing to check, or an earlier failure is in the way.
        found: what was seen, without passwords.
        advice: how to mend it; None where all is well.
    """

    name: str
    state: State
    found: str
    advice: str | None = None


@dataclass(frozen=True)
class Finding(Generic[T]):
    """What one look gave: a line of the list, and a value for the checks that build on it.

    Args:
        found: see :class:`Check`.
        state: see :class:`Check`.
        advice: see :class:`Check`.
        value: None only where no later check needs one, or where the state is failed or skipped.
    """

    found: str
    state: State = "ok"
    advice: str | None = None
    value: T | None = None


class Outcome(Generic[T]):
    """A check that was made, for those that build on it."""

    def __init__(self, name: str, finding: Finding[T], root: str) -> None:
        self.is_usable = finding.state in ("ok", "warning")
        self.root = root
        self._name = name
        self._value = finding.value

    @property
    def value(self) -> T:
        """What was found; only where the outcome is usable."""
        if self._value is None:
            raise LookupError(f"The check of {self._name} gave nothing to build on")
        return self._value


class Checklist:
    """Makes checks one by one; an error inside a check becomes its line.

    Args:
        on_check: called with each line as soon as it is known.
    """

    def __init__(self, on_check: Callable[[Check], None]) -> None:
        self.checks: list[Check] = []
        self._on_check = on_check

    def look(
        self, name: str, look: Callable[[], Finding[T]], advice: str, needs: tuple[Outcome[Any], ...] = ()
    ) -> Outcome[T]:
        """Make one check, unless one that it needs is not usable.

        Args:
            look: called at once; what it raises is a failure.
            advice: how to mend an error that brings no advice of its own.
        """
        missing = [outcome.root for outcome in needs if not outcome.is_usable]
        if missing:
            return self._note(name, Finding(f"not checked, because {missing[0]}", "skipped"), missing[0])
        try:
            finding = look()
        except GlossTuneError as error:
            found, own_advice = _split(error)
            finding = Finding(found, "failed", own_advice or advice)
        except Exception as error:  # whatever is broken here, the other checks shall still be made
            finding = Finding(_first_line(error), "failed", advice)
        root = finding.found if finding.state == "skipped" else f"the check of {name} failed"
        return self._note(name, finding, root)

    def _note(self, name: str, finding: Finding[T], root: str) -> Outcome[T]:
        advice = None if finding.advice is None else redact(finding.advice)
        check = Check(name, finding.state, redact(finding.found), advice)
        self.checks.append(check)
        self._on_check(check)
        return Outcome(name, finding, root)


def _split(error: GlossTuneError) -> tuple[str, str]:
    """Our messages end with the next step, behind the last ``;`` or full stop: what was found, and what to do."""
    text = str(error).strip().rstrip(".")
    if isinstance(error, StudyMismatchError):
        return "; ".join(error.differences), text.splitlines()[-1]  # its last line is the next step
    text = " ".join(text.split())
    cut = max(text.rfind("; "), text.rfind(". "))
    return (text, "") if cut < 0 else (text[:cut], text[cut + 2].lower() + text[cut + 3 :])


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
