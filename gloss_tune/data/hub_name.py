"""Names of data sets on the Hugging Face Hub: ``hf:[OWNER/]NAME[/CONFIG][@REVISION]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gloss_tune.errors import DataError

PREFIX = "hf:"
_PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubName:
    """What to load from the Hub.

    Attributes:
        repository: ``owner/name``, or ``name`` alone.
        config: one of its configurations, None for the only or default one.
        revision: branch, tag or commit; None for the newest.
    """

    repository: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        config = "" if self.config is None else f"/{self.config}"
        return f"{PREFIX}{self.repository}{config}" + ("" if self.revision is None else f"@{self.revision}")

    @property
    def is_pinned(self) -> bool:
        """Whether it is the same content for ever."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


def is_hub_name(asked: object) -> bool:
    """Whether it names a data set of the Hub (``./hf:x`` is a path)."""
    return isinstance(asked, str) and asked.startswith(PREFIX)


def readings(asked: str) -> list[HubName]:
    """What a name may mean, the likelier first: ``hf:a/b`` is b of the owner a, else a's configuration b.

    Raises:
        DataError: it is no such name.
    """
    named, at, revision = asked.removeprefix(PREFIX).partition("@")
    parts = named.split("/")
    if not 1 <= len(parts) <= 3 or not all(map(_PART.fullmatch, parts)) or (at and not revision.strip()):
        raise DataError(
            f"A data set of the Hub is hf:OWNER/NAME, hf:OWNER/NAME/CONFIG, hf:NAME or hf:NAME/CONFIG, each with "
            f"@REVISION if you like; {asked!r} is none of these. Copy the name from its page."
        )
    commit = revision or None
    if len(parts) == 3:
        return [HubName("/".join(parts[:2]), parts[2], commit)]
    whole = HubName(named, None, commit)
    return [whole] if len(parts) == 1 else [whole, HubName(parts[0], parts[1], commit)]
