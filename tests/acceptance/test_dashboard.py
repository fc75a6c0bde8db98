"""The dashboard as a real server: it shows, and changes nothing unless told that it may."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Commands, until
from tests.acceptance.processes import Process
from tests.integration.studies import contents

pytestmark = pytest.mark.timeout(90)


class Dashboard:
    """A running dashboard and its address."""

    def __init__(self, commands: Commands, *options: str) -> None:
        self.process: Process = commands.start("dashboard", "--port", "0", *options)
        found = until(
            lambda: re.search(r"http://([\d.]+):(\d+)/", self.process.stderr) or self.process.poll(), 60
        )
        assert isinstance(found, re.Match), self.process.stderr
        self.host, self.port = found[1], int(found[2])

    def ask(self, method: str, path: str, body: object = None, host: str | None = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{host or self.host}:{self.port}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture
def studied(commands: Commands) -> Iterator[Commands]:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands("create", "--dataset", "mr", "--rehearse", "--trials", 2, "--study", "shown")
    commands("worker")
    return commands


def test_visitors_see_everything_and_change_nothing(studied: Commands) -> None:
    assert studied.storage is not None
    before = contents(studied.storage)
    dashboard = Dashboard(studied)
    assert dashboard.host == "127.0.0.1"
    with pytest.raises(urllib.error.URLError):  # every loopback address would answer if it listened on all
        dashboard.ask("GET", "/", host="127.0.0.2")

    status, page = dashboard.ask("GET", "/dashboard")
    assert status == 200
    assert b"<html" in page.lower()
    assert dashboard.ask("GET", "/")[0] == 200
    status, found = dashboard.ask("GET", "/api/studies")
    assert status == 200
    (study,) = (
        json.loads(found)["study_summaries"] if "study_summaries" in json.loads(found) else json.loads(found)
    )
    assert study["study_name"] == "shown"
    number = study["study_id"]
    status, detail = dashboard.ask("GET", f"/api/studies/{number}?after=0")
    assert status == 200
    assert len(json.loads(detail)["trials"]) == 2

    for method, path, body in [
        ("DELETE", f"/api/studies/{number}", None),
        ("POST", "/api/studies", {"study_name": "mine", "directions": ["maximize"]}),
        ("POST", f"/api/studies/{number}/rename", {"study_name": "mine"}),
        ("PUT", f"/api/studies/{number}/note", {"body": "mine", "version": 1}),
        ("POST", "/api/trials/1/tell", {"state": "Complete", "values": [1.0]}),
        ("POST", f"/api/artifacts/{number}/1", {"file": "data:,x", "filename": "x"}),
        ("DELETE", f"/api/artifacts/{number}/1/x", None),
        ("PATCH", "/api/studies", {}),
        ("TRACE", "/api/studies", None),
    ]:
        status, answer = dashboard.ask(method, path, body)
        assert status == 405, (method, path)
        assert b"--writable" in answer
    assert contents(studied.storage) == before

    dashboard.process.send(signal.SIGINT)
    dashboard.process.ended(130, timeout=15)
    assert dashboard.process.stdout == ""


def test_a_writable_dashboard_lets_visitors_delete(studied: Commands) -> None:
    dashboard = Dashboard(studied, "--writable")
    (study,) = json.loads(dashboard.ask("GET", "/api/studies")[1]).values()
    (study,) = study if isinstance(study, list) else (study,)
    assert dashboard.ask("DELETE", f"/api/studies/{study['study_id']}")[0] == 204
    refused = studied("status", exit_code=2)
    assert "no study" in refused.stderr
    dashboard.process.send(signal.SIGTERM)
    dashboard.process.ended(143, timeout=15)
