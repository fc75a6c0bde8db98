"""A rehearsed study whose workers a cluster runs, and what must be true of it in the end."""

from __future__ import annotations

import json
from typing import Any

from tests.namespaces import ClusterCommands

EPOCHS = 10


class ClusterStudy:
    """One study in Postgres and its workers on the cluster.

    Args:
        cluster: where they run.
        engine: what ``--on`` calls it.
        url: the storage, of a database of this study's own.
        trials: of the study.
        seconds: of a trial.
        lease: of the study.
    """

    def __init__(
        self, cluster: ClusterCommands, engine: str, url: str, trials: int, seconds: float, lease: float = 4
    ) -> None:
        self.cluster = cluster
        self.url = url
        self._engine = engine
        self._env = {"GLOSS_TUNE_STORAGE": url}
        self.artifacts = cluster.folder / "work" / f"artifacts-{url.partition('?')[0].rpartition('_')[2]}"
        cluster.gloss_tune(
            "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials,
            "--lease", lease, "--pruner", "none", "--set", f"train.patience={EPOCHS}", env=self._env,
        )  # fmt: skip

    def launch(self, *options: object, exit_code: int = 0) -> Any:
        return self.cluster.gloss_tune(
            "launch", "--on", self._engine, "--cpus-per-worker", 1, "--grace", 3, "--artifacts", self.artifacts,
            *options, env=self._env, exit_code=exit_code,
        )  # fmt: skip

    def read(self, command: str) -> Any:
        return json.loads(self.cluster.gloss_tune(command, "--format", "json", env=self._env).stdout)

    def check_exact(self, trials: int) -> list[dict[str, Any]]:
        """Each trial is complete, with each of its epochs once, and nothing is lost."""
        rows = self.read("trials")
        assert [row["state"] for row in rows] == ["complete"] * trials
        assert [row["epochs"] for row in rows] == [EPOCHS] * trials
        assert isinstance(rows, list)
        return rows
