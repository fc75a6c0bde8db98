"""The study specifications that come with gloss-tune."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gloss_tune.errors import SpecError

# inside the package when installed, at the top of the repository when developed
_FOLDERS = (Path(__file__).parents[1] / "studies", Path(__file__).parents[2] / "studies")


def shipped_specs() -> dict[str, Path]:
    """Name → file; a name in a folder is ``folder/name``."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    return (
        {}
        if folder is None
        else {
            path.relative_to(folder).with_suffix("").as_posix(): path
            for path in sorted(folder.rglob("*.toml"))
        }
    )


def find_spec(name_or_path: str) -> Path:
    """The file meant by a path or by a shipped name.

    Raises:
        SpecError: if there is neither.
    """
    path = Path(name_or_path)
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        if path.is_file():
            return path
    shipped = shipped_specs()
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise SpecError(
        [f"--spec {name_or_path}: no such file, and shipped are only {', '.join(shipped) or 'none'}"]
    )
