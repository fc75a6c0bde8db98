"""A Hub of data sets and models on this machine: what the clients ask to read a data set, and to push a model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from tests.unit.encoder.stub_hub import LocalServer


class StubDataHub(LocalServer):
    """Serves data sets and takes models.

    Args:
        repositories: by name, each commit's folder, the last of which is ``main``.
        gated: names whose files are refused.
        me: what ``whoami`` says; None refuses the token.
        takes: whether commits are taken.
    """

    def __init__(
        self,
        repositories: dict[str, dict[str, Path]],
        gated: tuple[str, ...] = (),
        me: dict[str, Any] | None = None,
        *,
        takes: bool = True,
    ) -> None:
        self.repositories = repositories
        self.pushed: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self._read()

            def do_GET(self) -> None:
                self._read()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlparse(self.path).path)
                hub.asked.append(f"POST {path}")
                if "/paths-info/" in path:
                    name, _, commit = path.removeprefix("/api/datasets/").partition("/paths-info/")
                    fields = parse_qs(body.decode())
                    paths = fields.get("paths") or (json.loads(body)["paths"] if body[:1] == b"{" else [])
                    known = hub.files(name, commit)
                    self._send(200, [known[path] for path in paths if path in known])
                elif path == "/api/repos/create":
                    hub.created.append(json.loads(body))
                    self._send(200, {"url": f"{hub.url}/me/model", "id": "me/model"})
                elif path.endswith("/preupload/main"):
                    files = json.loads(body)["files"]
                    modes = [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for file in files
                    ]
                    self._send(200, {"files": modes})
                elif "/commit/" in path and takes:
                    for line in body.splitlines():
                        item = json.loads(line)
                        if item["key"] == "file":
                            hub.pushed[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
                    self._send(
                        200,
                        {"commitUrl": f"{hub.url}/me/model/commit/c", "commitOid": "c" * 40, "success": True},
                    )
                elif path == "/api/validate-yaml":
                    self._send(200, {"errors": [], "warnings": []})
                else:
                    self._send(403, {"error": "not taken"})

            def _read(self) -> None:
                path = unquote(urlparse(self.path).path)
                hub.asked.append(path)
                if path == "/api/whoami-v2":
                    self._send(401 if me is None else 200, me or {"error": "Invalid token"})
                    return
                # an old name without an owner is answered with the id that it has now
                path = re.sub(
                    r"^/api/datasets/several(?=$|/(?:revision|tree)/)", "/api/datasets/own/several", path
                )
                for name in repositories:
                    api, files = f"/api/datasets/{name}", f"/datasets/{name}/resolve/"
                    if path == api or path.startswith(api + "/"):
                        self._api(name, path.removeprefix(api).strip("/"))
                        return
                    if path.startswith(files):
                        self._file(name, *path.removeprefix(files).split("/", 1))
                        return
                self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

            def _api(self, name: str, rest: str) -> None:
                kind, _, place = rest.partition("/")
                asked, _, folder = place.partition("/")
                commit = hub.commit(name, asked or "main")
                if commit is None:
                    self._send(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
                    return
                files = hub.files(name, commit)
                if kind == "tree":
                    below = f"{folder}/" if folder else ""
                    inside = [entry for path, entry in files.items() if path.startswith(below)]
                    if "recursive=true" not in urlparse(self.path).query.lower():
                        inside = [entry for entry in inside if "/" not in entry["path"].removeprefix(below)]
                    self._send(200, inside) if inside or not folder else self._send(
                        404, {}, {"X-Error-Code": "EntryNotFound"}
                    )
                    return
                siblings = [{"rfilename": path} for path, entry in files.items() if entry["type"] == "file"]
                self._send(
                    200, {"id": name, "sha": commit, "siblings": siblings, "gated": name in gated, "tags": []}
                )

            def _file(self, name: str, revision: str, file: str) -> None:
                commit = hub.commit(name, revision) or ""
                path = repositories[name].get(commit, Path("/nowhere")) / file
                if name in gated:
                    self._send(401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
                elif not path.is_file():
                    self._send(404, {}, {"X-Repo-Commit": commit, "X-Error-Code": "EntryNotFound"})
                else:
                    content = path.read_bytes()
                    etag = f'"{hashlib.sha1(content).hexdigest()}"'
                    self._send(200, content, {"X-Repo-Commit": commit, "ETag": etag})

            def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
                self.send_response(status)
                named = {"Content-Type": kind, **(headers or {}), "Content-Length": str(len(raw))}
                for key, value in named.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(raw)

        super().__init__(Handler)

    def commit(self, name: str, revision: str) -> str | None:
        """The commit that a revision is."""
        commits = self.repositories[name]
        return list(commits)[-1] if revision == "main" else revision if revision in commits else None

    def files(self, name: str, revision: str) -> dict[str, dict[str, Any]]:
        """The files and folders of a commit as the Hub lists them, by path."""
        folder = self.repositories[name][self.commit(name, revision) or ""]
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            content = path.read_bytes() if path.is_file() else name.encode()
            entry = {"type": "directory", "path": name, "oid": hashlib.sha1(content).hexdigest()}
            found[name] = {**entry, "type": "file", "size": len(content)} if path.is_file() else entry
        return found
