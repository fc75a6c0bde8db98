"""The cards of this machine as another process sees them, and how one is named.

A device that this process asks stays in use by it, and torch takes long to load where nothing else needs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gloss_tune.errors import DeviceSilentError, InputError

# as ``nvidia-smi -L`` shows them, whole cards and slices of one; in the older form of a slice, its numbers as well
_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z-]+(/\d+/\d+)?")
_KIND = re.compile(r"[a-z]+(:\d+)?")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# torch from a cold network disk, and a driver that wakes up
_PATIENCE_SECONDS = 180.0
_FREE = "import sys, torch; print(*(torch.cuda.mem_get_info(name)[0] for name in sys.argv[1:]))"


def is_uuid(device: str) -> bool:
    """Whether a name is a card's or a slice's own: ``GPU-…`` or ``MIG-…``."""
    return _UUID.fullmatch(device) is not None


def is_device_name(device: str) -> bool:
    """Whether a name may be one device: ``auto``, ``cpu``, ``cuda:N``, a card's own …; no device is asked."""
    return is_uuid(device) or _KIND.fullmatch(device) is not None


def see_only(uuid: str) -> str:
    """Make a card the only one that this process sees.

    Args:
        uuid: see :func:`is_uuid`.

    Returns:
        What torch calls it then.

    Raises:
        InputError: this process has used another card, and can see no other any more.
    """
    torch = sys.modules.get("torch")
    if os.environ.get(_VISIBLE) != uuid and torch is not None and torch.cuda.is_initialized():
        raise InputError(
            f"A card named by its UUID must be the first that a process uses, got {uuid} after another one; "
            f"start a process anew, or set {_VISIBLE}={uuid}"
        )
    os.environ[_VISIBLE] = uuid
    return "cuda:0"


def freest_card(cards: int, busy: Iterable[str] = ()) -> str:
    """The card with the fewest workers, and of those with as few, the one with the most free memory.

    Args:
        cards: how many there are, at least 1.
        busy: of each worker of this machine, what it computes on.
    """
    workers = Counter(busy)
    names = [f"cuda:{number}" for number in range(cards)]
    fewest = min(workers[name] for name in names)
    candidates = [name for name in names if workers[name] == fewest]
    if len(candidates) == 1:
        return candidates[0]
    try:
        free = free_on_cards(candidates)
    except DeviceSilentError:  # the first will tell what is wrong, when it is used
        return candidates[0]
    return max(candidates, key=lambda name: free[name])


def free_on_cards(names: Sequence[str]) -> dict[str, int]:
    """Free bytes of each card as of now.

    Args:
        names: such as ``cuda:0`` and ``GPU-…``.

    Raises:
        DeviceSilentError: torch does not say.
    """
    numbered = [name for name in names if not is_uuid(name)]
    free: dict[str, int] = {}
    if numbered:
        free |= zip(numbered, map(int, ask_torch(_FREE, *numbered)[-len(numbered) :]), strict=True)
    for uuid in names:
        if is_uuid(uuid):
            free[uuid] = int(ask_torch(_FREE, "cuda:0", environment={_VISIBLE: uuid})[-1])
    return free


def ask_torch(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """What a Python program prints, in words, run in a process of its own.

    Args:
        program: its text.
        arguments: of its command line.
        environment: variables beside this process's own.

    Raises:
        DeviceSilentError: the program fails, prints nothing, or takes minutes.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C in a terminal is for us
        )
    except subprocess.TimeoutExpired:
        raise DeviceSilentError(f"no answer within {_PATIENCE_SECONDS:g} s") from None
    words = asked.stdout.split()
    if asked.returncode or not words:
        raise DeviceSilentError((asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1])
    return words
