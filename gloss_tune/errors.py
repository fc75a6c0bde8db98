"""Every error that gloss-tune raises on purpose.

    GlossTuneError                    exit code 1: the work failed
    ├── InputError                    exit code 2: what the user gave is wrong; nothing was written
    │   ├── SpecError                 the study specification (all faults at once, with their key paths)
    │   ├── DataError                 a data set: missing, malformed, or unfit for classification
    │   ├── EncoderError              an encoder that cannot be found or is not what it claims to be
    │   ├── StorageError              a storage URL, or a database that is not ours to write to
    │   │   ├── StorageAwayError      exit code 69: nothing answers there now; try again
    │   │   └── StorageRefusedError   the storage answers and refuses: rights, password, missing tables
    │   └── StudyMismatchError        a study that exists but differs from what was asked for
    ├── TrialError                    one trial failed; the study goes on
    │   ├── NonFiniteLossError        the loss became NaN or infinite
    │   ├── DeviceMemoryError         the device ran out of memory
    │   └── QueuedParamsError         the parameters that a trial was queued with are not of the study's space
    ├── MachineError                  this machine cannot go on; its trial waits again, the worker leaves
    │   ├── DeviceLostError           the device computes nothing more for this process
    │   └── DeviceFullError           others leave too little of the device's memory to begin
    ├── Interrupted                   a run is asked to stop; its trial waits again
    ├── LeaseLostError                a trial belongs to another worker by now
    ├── StorageLostError              exit code 69: the storage stayed away for longer than anyone waits
    ├── StudyStoppedError             exit code 3: too many trials of a study have failed, or a person has stopped it
    ├── WorkLeftError                 the workers left a study before its end, as they were asked to
    ├── CheckpointError               a checkpoint cannot be read; its trial starts over
    ├── DeviceSilentError             a device's driver does not answer
    └── StartAbandonedError           a group is told to stop while it starts a worker

A message states the rule, the value received, and the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of the command line ends with; 128 + its number after a signal that stopped it."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    STUDY_STOPPED = 3  # starting again does not help, before someone has looked
    STORAGE_AWAY = 69  # try again later; EX_UNAVAILABLE of sysexits.h
    WORK_LEFT = 75  # a worker left on request; start it again. EX_TEMPFAIL of sysexits.h
    SIGNALLED = 128


class GlossTuneError(Exception):
    """Base of all errors raised on purpose; the command line ends with ``exit_code``."""

    exit_code: int = ExitCode.FAILED


class InputError(GlossTuneError):
    """The user's input is wrong; nothing was written."""

    exit_code = ExitCode.WRONG_INPUT


class SpecError(InputError):
    """The study specification is wrong.

    Args:
        faults: one line per fault, each opening with the path of its key (``space.temperature.low: …``).
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        head = (
            "The study specification has one fault:"
            if len(self.faults) == 1
            else (f"The study specification has {len(self.faults)} faults:")
        )
        super().__init__("\n".join([head, *(f"  {fault}" for fault in self.faults)]))


class DataError(InputError):
    """A data set is missing, malformed, or unfit for classification."""


class EncoderError(InputError):
    """An encoder cannot be found, or its weights are not the published ones."""


class StorageError(InputError):
    """A storage URL is malformed, unreachable, or points to a database that is not ours to write to."""


class StorageAwayError(StorageError):
    """Nothing answers at a storage's URL, or it cannot take anyone just now; the same command may work later."""

    exit_code = ExitCode.STORAGE_AWAY


class StorageRefusedError(StorageError):
    """The storage answers and refuses what is asked, and would go on refusing until somebody fixes that."""


class StudyMismatchError(InputError):
    """A study exists, but differs from what was asked for or from what this worker sees.

    Args:
        study: name of the study.
        differences: one line per differing field, each opening with the field's name.
        advice: the next step.
    """

    def __init__(self, study: str, differences: Sequence[str], advice: str) -> None:
        self.differences = tuple(differences)
        lines = [f"Study '{study}' differs from what was asked for:"]
        super().__init__("\n".join([*lines, *(f"  {line}" for line in self.differences), advice]))


class TrialError(GlossTuneError):
    """One trial failed for a reason that a retry would not fix; the study goes on."""


class NonFiniteLossError(TrialError):
    """The loss became NaN or infinite."""


class DeviceMemoryError(TrialError):
    """The device ran out of memory, and there was no smaller step to fall back to."""


class QueuedParamsError(TrialError):
    """The parameters that a trial was queued with, by another tool, are not of the study's space."""


class MachineError(GlossTuneError):
    """This machine or its device cannot go on, whatever the trial; a fresh process, or another machine, may."""


class DeviceLostError(MachineError):
    """The device computes nothing more for this process: its context is lost."""


class DeviceFullError(MachineError):
    """What others leave of the device's memory does not hold the encoder; nothing was begun."""


class Interrupted(GlossTuneError):
    """A signal, a person or the clock asked a run to stop; its trial has not ended."""


class LeaseLostError(GlossTuneError):
    """This worker no longer holds the trial that it tried to write to; another one may be running it."""


class StorageLostError(GlossTuneError):
    """The storage was away for longer than anyone waits; leases run out, and the trials will be requeued."""

    exit_code = ExitCode.STORAGE_AWAY


class StudyStoppedError(GlossTuneError):
    """No further trial of the study starts: too many have failed, or a person has stopped it."""

    exit_code = ExitCode.STUDY_STOPPED


class WorkLeftError(GlossTuneError):
    """The workers left a study before its end, as a signal or a person asked; they have said so.

    Args:
        study: its name.
        exit_code: tells how they were asked.
    """

    def __init__(self, study: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"The workers left study {study!r} before its end; repeat the command to go on")


class CheckpointError(GlossTuneError):
    """A checkpoint file is missing, truncated or not a checkpoint; the trial can only start over."""


class DeviceSilentError(GlossTuneError):
    """torch, asked in a process of its own, gave no answer; the message says why."""


class StartAbandonedError(GlossTuneError):
    """The group was told to stop while a process was being started, which the first time takes as long as imports."""
