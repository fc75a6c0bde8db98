"""Studies from Python: each method is the command of its name."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

import gloss_tune
from gloss_tune.errors import InputError, SpecError, StudyMismatchError, StudyStoppedError, WorkLeftError
from gloss_tune.logging import logger
from gloss_tune.study.status import status
from tests.integration.studies import contents, join

pytestmark = pytest.mark.timeout(90)

FRAME = pd.DataFrame({"text": [f"text {i} of {i % 2}" for i in range(40)], "label": ["a", "b"] * 20})


def made(url: str, **options: object) -> gloss_tune.Study:
    known = {"name": "study", "trials": 3, "rehearse": True, "epochs": 2, "pruner": "none", **options}
    return gloss_tune.create_study("mr", storage=url, **known)


def test_a_study_from_making_to_report(storage_url: str, tmp_path: Path) -> None:
    study = made(
        storage_url, space={"temperature": (0.05, 1.0), "mask_ratio": [0.2, 0.4], "lpa_iterations": 5}
    )
    assert study.spec["space"]["temperature"] == {"low": 0.05, "high": 1.0, "log": True}
    assert study.spec["space"]["mask_ratio"] == {"choices": [0.2, 0.4]}
    assert study.spec["train"]["lpa_iterations"] == 5
    assert study.best is None
    assert study.run() is study
    assert study.status() == status(join(storage_url))
    frame = study.trials()
    assert list(frame["number"]) == [0, 1, 2]
    assert set(frame["params_mask_ratio"]) <= {0.2, 0.4}
    assert study.best is not None
    assert study.best["value"] == frame["value"].max()
    assert study.extend(1).enqueue({"temperature": 0.5}).spec["trials"] == 5
    study.run()
    assert study.trials()["params_temperature"].iloc[4] == 0.5
    ranked = study.confirm(top=1, seeds=2)
    assert ranked["state"] == "finished"
    assert study.export()["confirmed"]["n"] == 2
    assert study.report(tmp_path / "report").read_text().startswith("<!")
    again = gloss_tune.open_study(storage=storage_url)
    assert repr(again) == repr(study)
    assert "5 of 5 trials" in repr(study)
    assert "<table" in study._repr_html_()
    listed = gloss_tune.list_studies(storage_url)
    assert list(listed["name"]) == ["study"]
    assert listed["trials_complete"].iloc[0] == 5
    study.delete()
    assert gloss_tune.list_studies(storage_url).empty


def test_it_is_steered_as_by_the_commands(url: str) -> None:
    study = made(url).stop()
    assert study.status()["steering"] == "stopped"
    with pytest.raises(StudyStoppedError, match="resume"):
        study.run()
    assert gloss_tune.open_study(storage=url).pause().status()["steering"] == "paused"
    assert study.resume().status()["steering"] is None
    assert study.run(leave_when_empty=True, until=600).status()["state"] == "finished"
    study.extend(1)
    with pytest.raises(WorkLeftError) as left:
        study.run(until=0)
    assert left.value.exit_code == 75


def test_it_is_the_study_that_the_command_line_makes(url: str) -> None:
    made(url)
    command = [
        sys.executable,
        "-m",
        "gloss_tune",
        "create",
        "--dataset",
        "mr",
        "--study",
        "study",
        "--rehearse",
    ]
    more = ["--trials", "3", "--epochs", "2", "--pruner", "none", "--storage", url, "--format", "json"]
    again = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["created"] is False


def test_a_table_is_a_data_set(url: str, tmp_path: Path) -> None:
    study = gloss_tune.create_study(
        FRAME, storage=url, name="mine", trials=2, rehearse=True, artifacts=tmp_path / "files"
    )
    assert study.status()["dataset"].startswith("frame-")
    again = gloss_tune.create_study(
        FRAME.copy(), storage=url, name="mine", trials=2, rehearse=True, artifacts=tmp_path / "files"
    )
    assert repr(again) == repr(study)
    with pytest.raises(StudyMismatchError, match="dataset"):
        gloss_tune.create_study(
            FRAME.head(20), storage=url, name="mine", trials=2, rehearse=True, artifacts=tmp_path / "files"
        )


def test_several_workers_of_an_unguarded_script(tmp_path: Path) -> None:
    """Its children must not run it again, though it has no ``if __name__ == "__main__"``."""
    script = tmp_path / "script.py"
    script.write_text(
        "import gloss_tune\n"
        "print('once')\n"
        "study = gloss_tune.create_study('mr', trials=4, rehearse=True, epochs=2, name='s')\n"
        "print(study.run(workers=2))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=80
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "once"
    assert "4 of 4 trials" in done.stdout.splitlines()[1]
    assert len(done.stdout.splitlines()) == 2


def test_outside_of_the_main_thread_too(url: str) -> None:
    study = made(url)
    thread = threading.Thread(target=study.run)
    thread.start()
    thread.join(60)
    assert study.status()["state"] == "finished"


def test_messages_are_the_callers_affair(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = logger.handlers[:]
    logger.handlers[:] = []
    try:
        made(url).run(verbose=False)
        assert capsys.readouterr().err == ""
        made(url, name="other").run()
        assert "trials finished" in capsys.readouterr().err
        assert logger.handlers == []
    finally:
        logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"space": {"temperature": (1.0,)}}, r"\(low, high\)"),
        ({"space": {"temperature": (1.0, 0.1)}}, "temperature"),
        ({"space": {"warmth": (0.1, 1.0)}}, "cannot be searched"),
        ({"epoch": 3}, "epoch"),
        ({"epochs": 0}, "epochs"),
        ({"trials": 0}, "trials"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_written(url: str, wrong: dict[str, object], said: str) -> None:
    made(url, name="other")
    before = contents(url)
    with pytest.raises((InputError, SpecError), match=said):
        made(url, **wrong)
    assert contents(url) == before


def test_an_unknown_option_of_run_is_named(url: str) -> None:
    with pytest.raises(InputError, match="got worker"):
        made(url).run(worker=3)


def test_the_package_imports_in_no_time() -> None:
    script = "import time; t = time.perf_counter(); import gloss_tune; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(3)]
    assert min(times) < 0.1
    heavy = "import gloss_tune, sys; print([m for m in ('torch', 'optuna', 'pandas') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", heavy], text=True).strip() == "[]"
