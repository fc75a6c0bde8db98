"""Remove from the artifacts folder what a study needs no more."""

from __future__ import annotations

from pathlib import Path

from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.checkpoints import prune_checkpoints
from gloss_tune.workers.artifacts.models import prune_models


def tidy(artifacts: Path, opened: OpenStudy) -> None:
    """Remove what nobody needs any more, whichever worker left it. Any process may do it at any time."""
    prune_checkpoints(artifacts, opened)
    prune_models(opened, artifacts)
