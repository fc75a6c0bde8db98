"""What a study's results depend on: versions of this package, Python and what computes."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from gloss_tune import __version__


def current_versions() -> dict[str, str]:
    """Versions of gloss-tune, Python and the packages that results depend on; nothing is imported for it."""
    found = {"gloss-tune": __version__, "python": platform.python_version()}
    return {**found, **{package: _installed(package) for package in _PACKAGES}}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


_PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "optuna",
    "sqlalchemy",
    "scikit-learn",
    "numpy",
)
