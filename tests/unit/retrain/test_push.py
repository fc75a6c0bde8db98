"""Pushing a folder to a Hub on this machine; rights are looked at first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.encoder.stub_data_hub import StubDataHub

ME = {
    "name": "me",
    "type": "user",
    "orgs": [{"name": "lab", "roleInOrg": "write"}, {"name": "other", "roleInOrg": "read"}],
    "auth": {"accessToken": {"role": "write"}},
}
READS = {**ME, "auth": {"accessToken": {"role": "read"}}}
SCRIPT = """
import sys
from pathlib import Path
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.retrain.push import check_push, push
try:
    target = check_push(sys.argv[1], private=sys.argv[3] == "private")
    print(target.repository)
    push(Path(sys.argv[2]), target)
except InputError as error:
    sys.exit(f"refused: {error}")
except GlossTuneError as error:
    sys.exit(f"failed: {error}")
"""


def call(
    tmp_path: Path,
    name: str,
    me: dict[str, Any] | None = ME,
    token: str = "hf_x",
    *,
    takes: bool = True,
    seen: str = "private",
) -> tuple[subprocess.CompletedProcess[str], StubDataHub]:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlibrary_name: sentence-transformers\n---\n# card\n")
    (folder / "gloss_tune.json").write_text("{}")
    hub = StubDataHub({}, me=me, takes=takes)
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(folder), seen],
        capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    hub.close()
    return ran, hub


@pytest.mark.parametrize(("name", "repository"), [("lab/model", "lab/model"), ("model", "me/model")])
def test_the_folder_arrives_with_its_card(tmp_path: Path, name: str, repository: str) -> None:
    ran, hub = call(tmp_path, name)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [repository]
    assert set(hub.pushed) >= {"README.md", "gloss_tune.json"}
    assert b"# card" in hub.pushed["README.md"]
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"


def test_a_public_one_where_asked_for(tmp_path: Path) -> None:
    ran, hub = call(tmp_path, "model", seen="public")
    assert ran.returncode == 0, ran.stderr
    assert not hub.created[0].get("private")
    assert hub.created[0].get("visibility") in (None, "public")


@pytest.mark.parametrize(
    ("name", "me", "token", "said"),
    [
        ("me/model", ME, "", "needs a token of the Hub, and there is none"),
        ("me/model", None, "hf_x", "does not accept this machine's token"),
        ("me/model", READS, "hf_x", "may only read"),
        ("stranger/model", ME, "hf_x", "may write to me, lab, and not to stranger"),
        ("other/model", ME, "hf_x", "and not to other"),
        ("a/b/c", ME, "hf_x", "OWNER/NAME, got 'a/b/c'"),
    ],
)
def test_refused_before_anything_is_sent(
    tmp_path: Path, name: str, me: dict[str, Any] | None, token: str, said: str
) -> None:
    ran, hub = call(tmp_path, name, me, token)
    assert ran.stderr.startswith("refused: "), ran.stderr
    assert said in ran.stderr
    assert not hub.created
    assert not hub.pushed


def test_a_push_that_fails_keeps_the_folder_and_says_how_to_go_on(tmp_path: Path) -> None:
    ran, _ = call(tmp_path, "me/model", takes=False)
    assert "failed: The model is whole in" in ran.stderr
    assert f"'hf upload me/model {tmp_path / 'model'}'" in ran.stderr
    assert (tmp_path / "model" / "README.md").is_file()
