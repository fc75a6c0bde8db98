"""Optuna's tables, and the keys that it keeps to itself: all that the package knows of Optuna's private side.

This is the only import of ``optuna.storages._rdb``. What breaks when an Optuna renames a table or a key is fixed
here, and ``tests/unit/storage/test_schema.py`` says by name what has changed.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import optuna
import optuna.storages._rdb as _package
import sqlalchemy
from optuna.storages._rdb import models as _models
from sqlalchemy.orm import Session

# typed as Any: Optuna's models carry the annotations of an older SQLAlchemy
Study: Any = _models.StudyModel
StudyDirection: Any = _models.StudyDirectionModel
StudyUserAttribute: Any = _models.StudyUserAttributeModel
StudySystemAttribute: Any = _models.StudySystemAttributeModel
Trial: Any = _models.TrialModel
TrialParam: Any = _models.TrialParamModel
TrialValue: Any = _models.TrialValueModel
TrialReport: Any = _models.TrialIntermediateValueModel
TrialUserAttribute: Any = _models.TrialUserAttributeModel
TrialSystemAttribute: Any = _models.TrialSystemAttributeModel
TrialHeartbeat: Any = _models.TrialHeartbeatModel

#: Every table, by name, with its columns.
TABLES: Any = _models.BaseModel.metadata.tables
#: What Optuna says in a ``KeyError`` when a row is missing.
NOT_FOUND: str = _models.NOT_FOUND_MSG
#: Where Optuna's schema revisions lie.
REVISIONS = Path(_package.__path__[0]) / "alembic"
#: Whether times are stored in UTC, as by Optuna 5; Optuna 4 stores the local time of whoever wrote.
TIMES_ARE_UTC = hasattr(Trial, "_datetime_start_utc")

#: System attribute of a trial: the parameters that it was queued with (``Study.enqueue_trial``).
FIXED_PARAMS = "fixed_params"
#: System attribute of a trial: its constraints, in a form that all supported releases read; above 0 is infeasible.
CONSTRAINTS = "constraints"
#: System attributes of a study or trial that name its attachments begin with it (``optuna.artifacts``).
ATTACHMENT = "artifacts:"
#: System attribute of a study: the names of its values (``Study.set_metric_names``).
METRIC_NAMES = "study:metric_names"


def stored_now() -> datetime:
    """This moment as Optuna stores the times of trials; of Optuna 5, the same in all time zones."""
    return datetime.now(timezone.utc).replace(tzinfo=None) if TIMES_ARE_UTC else datetime.now()


def create_tables(connection: sqlalchemy.Connection) -> None:
    """Make Optuna's tables as Optuna does, but in the connection's transaction: all of them or none.

    What is there of them already stays.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    _models.BaseModel.metadata.create_all(connection)
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        version: Any = _models.VersionInfoModel
        if version.find(session) is None:
            session.add(version(schema_version=_models.SCHEMA_VERSION, library_version=optuna.__version__))
            session.commit()
    context = MigrationContext.configure(connection)
    if not context.get_current_heads():
        context.stamp(ScriptDirectory(str(REVISIONS)), "head")
