"""What a study computes in where its specification leaves that open: its first worker's choice, for all that follow.

Results that are compared with each other are computed alike. So a timing decides once, on the machine that comes first;
later workers, confirmation and final training follow, and say so where that is slow for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gloss_tune.storage.study_attributes import study_attribute, write_once
from gloss_tune.study.study import OpenStudy

#: The study's user attribute; a confirmation is made with that of its study.
PRECISION = "gloss_tune:precision"


@dataclass(frozen=True)
class StudyPrecision:
    """A precision and where it comes from.

    Args:
        precision: ``float32``, ``bfloat16`` ….
        device: of the worker that chose it.
        hardware: what that was, by its maker's name.
        threads: that it computed with.
        speeds: GFLOP/s by precision, as it measured them; empty where nothing was measured.
    """

    precision: str
    device: str
    hardware: str
    threads: int
    speeds: Mapping[str, float] = field(default_factory=dict)


def study_precision(opened: OpenStudy) -> StudyPrecision | None:
    """As settled; None before the first trial, and where the specification says it."""
    return _read(study_attribute(opened.storage, opened.study_id, PRECISION))


def settle_precision(opened: OpenStudy, offered: StudyPrecision) -> StudyPrecision:
    """The study's precision: ``offered`` if nobody came before."""
    return _read(write_once(opened.storage, opened.study_id, PRECISION, asdict(offered))) or offered


def recorded_precision(opened: OpenStudy, attributes: Mapping[str, Any]) -> str | None:
    """What a trial computed in.

    Args:
        attributes: the trial's, which may be one of an earlier release.

    Returns:
        As the trial says, or the study; None where neither does.
    """
    said = attributes.get("precision")
    if isinstance(said, str):
        return said
    settled = study_precision(opened)
    return None if settled is None else settled.precision


def _read(stored: Any) -> StudyPrecision | None:
    try:
        return StudyPrecision(**{key: stored[key] for key in StudyPrecision.__dataclass_fields__})
    except (KeyError, TypeError):
        return None  # not there, or of another release


def unlike(kinds: Iterable[tuple[str, str, str]]) -> str | None:
    """What those who compute a study have in common less than its results should have; None if all is alike.

    Args:
        kinds: precision, device and hardware of each worker or trial; empty where unknown, which says nothing.
    """
    known = Counter(
        (precision, device.partition(":")[0], hardware) for precision, device, hardware in kinds if precision
    )
    if len(known) < 2:
        return None
    shown = [
        f"{number} in {precision} on {device}{f' ({hardware})' if hardware else ''}"
        for (precision, device, hardware), number in sorted(
            known.items(), key=lambda kind: (-kind[1], kind[0])
        )
    ]
    if len({precision for precision, _, _ in known}) > 1:
        meaning = "results in different precisions are not strictly comparable"
    elif len({device for _, device, _ in known}) > 1:
        meaning = (
            "CPU and GPU round differently and draw other dropout, so that equal trials give other results"
        )
    else:
        meaning = "equal trials may differ in rounding"
    return f"{', '.join(shown)}: {meaning}"
