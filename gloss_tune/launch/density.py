"""How many workers a device feeds and holds: chosen by measurement, for ``--workers-per-device auto``.

Nothing is guessed. What a worker takes is known from the study's finished trials; before there is one, each device
has one worker, and the others join when the first trial has told. What is free is measured then, so that other
processes, and this study's own workers, count as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gloss_tune.cores import usable_cores
from gloss_tune.errors import DeviceSilentError, InputError
from gloss_tune.finetune.cards import is_uuid
from gloss_tune.launch.free_memory import free_memory
from gloss_tune.logging import logger
from gloss_tune.wording import count, size

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from gloss_tune.spec.spec import StudySpec
    from gloss_tune.study.study import OpenStudy

#: By judgement, not measured: so many processes leave a device idle only between their steps, if at all.
MOST_ON_A_CUDA_DEVICE = 8
# CUDA's own share of a process, which torch does not count
_CUDA_CONTEXT = 500 * 2**20
# a later trial may take more than those so far
_SPARE = 1.25
# what a step's activations grow with
_DEMANDING = ("batch_size", "max_length")


def parse_per_device(given: int | str | None, workers: int | None) -> int | Literal["auto"] | None:
    """``--workers-per-device`` as a number or ``auto``; None where it was not given.

    Args:
        given: the option's value.
        workers: that of ``--workers``.

    Raises:
        InputError: if it is neither, or if both options were given.
    """
    if given is None:
        return None
    if workers is not None:
        raise InputError(
            "--workers and --workers-per-device exclude each other: the first counts the workers of this machine, "
            f"the second those of each device; got {workers} and {given}. Leave one of them out"
        )
    if given == "auto":
        return "auto"
    if not re.fullmatch(r"[1-9][0-9]*", str(given)):
        raise InputError(f"--workers-per-device takes a number from 1 up, or auto; got {given!r}")
    return int(given)


class Density:
    """Chooses a group's workers, at its start or after its first trials, once.

    Args:
        devices: to compute on.
        rehearsal: whether the study trains nothing; then only cores count.
        threads: of each worker on the CPU; None for one, since two workers with a thread each were measured to
            train faster than one with two.
        cores: counts those that this process may use.
        free: measures the free bytes of devices.

    Raises:
        InputError: for a device whose memory cannot be measured.
    """

    def __init__(
        self,
        devices: Sequence[str],
        rehearsal: bool = False,
        threads: int | None = None,
        *,
        cores: Callable[[], int] = usable_cores,
        free: Callable[[Sequence[str]], Mapping[str, int]] = free_memory,
    ) -> None:
        unknown = [device for device in devices if not rehearsal and kind_of(device) not in ("cpu", "cuda")]
        if unknown:
            raise InputError(
                f"--workers-per-device auto measures the memory of cpu and cuda devices; got {unknown[0]}. "
                "Give a number"
            )
        self._devices = list(dict.fromkeys(devices))
        self._rehearsal = rehearsal
        self._threads = threads or 1
        self._cores = cores
        self._free = free
        self._started: list[str] = []
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether the choice is made, so that :meth:`grow` has nothing to add."""
        return self._settled

    def start(self, opened: OpenStudy, left: int) -> list[str]:
        """The device of each worker to start with.

        Args:
            opened: the study.
            left: its trials that have not ended.
        """
        self._started = self._choose(opened, left)
        if not self._settled:
            logger.info(
                "No trial of this study has told yet how much memory it takes on %s. Starting with one worker on "
                "each device; others join when the first trial has finished.",
                " or ".join(sorted({kind_of(device) for device in self._devices})),
            )
        return list(self._started)

    def grow(self, opened: OpenStudy, left: int) -> list[str]:
        """The devices of workers to add, after a trial has finished; none as long as it told nothing of its memory.

        Args:
            opened: the study.
            left: its trials that have not ended.
        """
        chosen = self._choose(opened, left)
        added = chosen[len(self._started) :]
        self._started += added
        return added

    def _choose(self, opened: OpenStudy, left: int) -> list[str]:
        """The device of each worker, those of the first ones first; settles the matter if it can."""
        first = self._started or self._devices[:left]
        cores = max(1, self._cores() // len(self._devices))
        most = {device: self._fed_by(cores, device) for device in self._devices}
        memory: dict[str, tuple[int, float]] = {}
        if not self._rehearsal and len(_in_turn(most, left)) > len(first):
            needed = {device: worker_memory(opened, kind_of(device)) for device in self._devices}
            known = {device: bytes_ for device, bytes_ in needed.items() if bytes_ is not None}
            if len(known) < len(self._devices):
                return first
            try:
                free = self._free(self._devices)
            except DeviceSilentError as error:
                logger.warning(
                    "Free memory cannot be measured (%s): no further workers. Give --workers-per-device a number.",
                    error,
                )
                self._settled = True
                return first
            memory = {device: (free[device], known[device]) for device in self._devices}
            for device, (free_bytes, worker_bytes) in memory.items():
                here = self._started.count(device)
                most[device] = min(most[device], max(1, here + int(free_bytes // worker_bytes)))
        self._settled = True
        # workers that are there stay, even if that is more than would be chosen now
        chosen = max(_in_turn(most, left), first, key=len)
        for device in dict.fromkeys(chosen):
            self._say(chosen.count(device), device, memory.get(device), left)
        return chosen

    def _fed_by(self, cores: int, device: str) -> int:
        """How many workers on a device these cores can keep busy."""
        if kind_of(device) == "cuda":
            return min(cores, MOST_ON_A_CUDA_DEVICE)
        return max(1, cores // self._threads)

    def _say(self, workers: int, device: str, memory: tuple[int, float] | None, left: int) -> None:
        facts = []
        if memory is not None:
            facts += [f"{size(memory[0])} free", f"one more takes {size(memory[1])}"]
        devices = len(self._devices)
        facts.append(count(self._cores(), "core") + (f" for {devices} devices" if devices > 1 else ""))
        if kind_of(device) == "cuda":
            facts.append(f"{MOST_ON_A_CUDA_DEVICE} at most")
        elif self._threads > 1:
            facts.append(f"{self._threads} threads each")
        facts.append(f"{count(left, 'trial')} left")
        where = "for a rehearsal" if self._rehearsal else f"on {device}"
        logger.info("%s %s: %s.", count(workers, "worker"), where, ", ".join(facts))


def worker_memory(opened: OpenStudy, kind: str) -> float | None:
    """Bytes that one more worker may take, from what the study's finished trials took on devices of this kind.

    Where batch size or length of documents are searched, the most that was seen is not yet the most that comes: each
    trial's memory is taken to grow in proportion to both, and the lowest of these forecasts counts, since the part
    that does not grow makes all but the greatest batches' too high.

    Args:
        opened: the study.
        kind: ``cpu`` or ``cuda``.

    Returns:
        None if no trial has told.
    """
    history = opened.optuna_study().get_trials(deepcopy=False)
    told = [
        (float(trial.user_attrs["metrics"]["peak_memory_mb"]), _yet_to_come(opened.spec, trial))
        for trial in history
        if trial.state.is_finished()
        and kind_of(str(trial.user_attrs.get("device"))) == kind
        and trial.user_attrs.get("metrics", {}).get("peak_memory_mb")
    ]
    if not told:
        return None
    peak = max(max(peak for peak, _ in told), min(peak * factor for peak, factor in told))
    return _SPARE * peak * 2**20 + (_CUDA_CONTEXT if kind == "cuda" else 0)


def kind_of(device: str) -> str:
    """``cuda`` of ``cuda:1``, or of a card's UUID."""
    return "cuda" if is_uuid(device) else device.partition(":")[0]


def _yet_to_come(spec: StudySpec, trial: FrozenTrial) -> float:
    """How many times the tokens of this trial's batch the study's greatest batch has."""
    factor = 1.0
    for searched in spec.ranges:
        if searched.name in _DEMANDING and searched.name in trial.params:
            factor *= searched.highest() / trial.params[searched.name]
    return factor


def _in_turn(most: Mapping[str, int], left: int) -> list[str]:
    """So many workers on each device, the devices in turn, and no more than there are trials."""
    rounds = range(max(most.values()))
    return [device for turn in rounds for device in most if turn < most[device]][:left]
