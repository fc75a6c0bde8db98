"""A trial in MLflow: a run of the study's experiment, on ``MLFLOW_TRACKING_URI`` or in a local database."""

from __future__ import annotations

import math
import os

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from gloss_tune.finetune.config import EpochReport
from gloss_tune.workers.tracking import TrackedTrial

_TAG = "gloss_tune.trial"
_STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "fail": "FAILED"}


def start(trial: TrackedTrial, epoch: int) -> MlflowRun:
    """Begin a trial's run, or go on with the one that an earlier attempt began."""
    return MlflowRun(trial)


class MlflowRun:
    """See :class:`gloss_tune.workers.tracking.Tracker`."""

    def __init__(self, trial: TrackedTrial) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            trial.folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(trial.folder / 'mlflow.db').absolute()}"
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(trial.files)
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{trial.number}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        run = self._client.create_run(experiment, run_name=trial.name, tags={_TAG: str(trial.number)})
        self._id = run.info.run_id
        params = [Param(name, str(value)) for name, value in trial.params.items()]
        self._client.log_batch(self._id, params=params)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another worker was quicker
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def report(self, report: EpochReport) -> None:
        """One point a metric; one that is written again is the same to the last bit."""
        metrics = [
            Metric(name, value, 0, report.epoch)
            for name, value in report.metrics.items()
            if math.isfinite(value)
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, state: str, value: float | None) -> None:
        """The state as a tag, the value as a metric, and the run is finished."""
        self._client.set_tag(self._id, "state", state)
        if value is not None and math.isfinite(value):
            self._client.log_metric(self._id, "value", value)
        self._client.set_terminated(self._id, _STATUS[state])

    def close(self) -> None:
        """Nothing is held open."""
