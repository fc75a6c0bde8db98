"""What a sampler may be called: one of Optuna's by a short name, or one of an OptunaHub registry."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAMPLERS = ("tpe", "gp", "random", "qmc", "grid")
_HUB = re.compile(
    r"hub:(?P<name>\w[\w.-]*(?:/\w[\w.-]*)*)(?::(?P<kind>[A-Za-z_]\w*))?(?:@(?P<digest>[0-9a-f]{16}))?"
)


@dataclass(frozen=True)
class HubName:
    """``hub:NAME[:CLASS][@DIGEST]``.

    Args:
        name: of the sampler in its registry; without a folder, of one in ``samplers``.
        kind: the class, where there are several.
        digest: of its code; None where that is not settled yet.
    """

    name: str
    kind: str | None = None
    digest: str | None = None

    @property
    def package(self) -> str:
        """Its folder in the registry."""
        return self.name if "/" in self.name else f"samplers/{self.name}"

    def __str__(self) -> str:
        kind = f":{self.kind}" if self.kind else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"hub:{self.name}{kind}{digest}"


def hub_name(sampler: str) -> HubName | None:
    """A sampler of the hub; None for another one."""
    found = _HUB.fullmatch(sampler)
    return None if found is None else HubName(found["name"], found["kind"], found["digest"])


def is_sampler(value: object) -> bool:
    """Whether a sampler may be called so."""
    return isinstance(value, str) and (value in SAMPLERS or hub_name(value) is not None)
