"""Made the databases of this folder, with gloss-tune 0.1.0 (the commit before the package was moved, d1f465e).

git worktree add OLD d1f465e
PYTHONPATH=OLD python tests/data/make_0_1_0.py sqlite:///tests/data/gloss-tune-0.1.0.sqlite
PYTHONPATH=OLD python tests/data/make_0_1_0.py postgresql://USER@HOST/EMPTY
pg_dump --inserts --no-owner --no-privileges EMPTY | grep -v '^\\\\' > tests/data/gloss-tune-0.1.0.sql

A rehearsal of 16 trials: 10 that workers ran, complete or pruned; one that failed; one that a lost worker left
running, without a sign of life for years; one that waits for its second attempt; the others wait for their first.
Its confirmation has run three of its six trials.
"""

from __future__ import annotations

import subprocess
import sys

from gloss_tune.study.opened import open_study
from gloss_tune.study.queue import claim, give_back
from optuna.trial import TrialState

from gloss_tune.study.objective import Ending, ask, tell

URL = sys.argv[1]


def gloss_tune(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "gloss_tune", *map(str, arguments), "--storage", URL], check=True)


gloss_tune(
    "create", "--study", "old", "--dataset", "mr", "--rehearse", "--trials", 16, "--epochs", 8, "--lease", 30
)
gloss_tune("worker", "--study", "old", "--max-trials", 10)
opened = open_study(URL, "old")
claimed = claim(opened.storage, opened.study_id, "failing")
trial, _ = ask(opened, claimed)
reason = "NonFiniteLossError: the loss is nan in epoch 2"
tell(opened, trial, claimed, Ending(TrialState.FAIL, reason=reason, infeasible=True), 1.5, {})
lost = claim(opened.storage, opened.study_id, "lost")
trial, _ = ask(opened, lost)
trial.report(0.5, step=1)
given = claim(opened.storage, opened.study_id, "preempted")
trial, _ = ask(opened, given)
trial.report(0.25, step=1)
give_back(opened.storage, given)
gloss_tune("confirm", "--study", "old", "--top", 2, "--seeds", 3, "--queue-only")
gloss_tune("worker", "--study", "old.confirm", "--max-trials", 3)
