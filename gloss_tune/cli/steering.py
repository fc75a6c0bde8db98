"""What ``pause``, ``resume`` and ``stop`` have in common: they ask something of a study's workers, and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gloss_tune.cli.options import Format, emit, to_json
from gloss_tune.logging import logger
from gloss_tune.wording import count

if TYPE_CHECKING:
    from gloss_tune.queue.steering import Steering


def steer_study(storage: str, study: str | None, steering: Steering | None, format: Format) -> None:
    """Ask it, and print what becomes of the study."""
    from gloss_tune.queue.steering import steer
    from gloss_tune.study.status import trial_counts
    from gloss_tune.study.study import open_study

    opened = open_study(storage, study)
    before = steer(opened.storage, opened.study_id, steering)
    now = trial_counts(opened)
    if format is Format.json:
        emit(
            to_json(
                {
                    "study": opened.name,
                    "steering": None if steering is None else steering.value,
                    "before": None if before is None else before.value,
                    "running": now["running"],
                    "waiting": now["waiting"],
                }
            )
        )
        return
    logger.info("%s", _sentence(opened.name, steering, before, now["running"], now["waiting"]))


def _sentence(name: str, now: Steering | None, before: Steering | None, running: int, waiting: int) -> str:
    from gloss_tune.queue.steering import Steering

    if now is None and before is None:
        return f"Study {name} was neither paused nor stopped: nothing has changed."
    if now is None:
        workers = "Workers that wait take them" if before is Steering.paused else "Its workers have left"
        return f"Study {name} goes on, {count(waiting, 'trial')} waiting. {workers}; 'gloss-tune launch' starts more."
    again = " already" if now is before else ""
    if not running and not waiting:
        return f"Study {name} is {now.value}{again}; it has no trial left to run."
    at_work = {
        0: "No trial runs",
        1: "One running trial ends its epoch and waits again",
    }.get(running, f"{running} running trials end their epoch and wait again")
    workers = "wait" if now is Steering.paused else "leave"
    return (
        f"Study {name} is {now.value}{again}. {at_work}, {count(waiting, 'trial')} waiting; the workers {workers}. "
        f"'gloss-tune resume --study {name}' undoes it."
    )
