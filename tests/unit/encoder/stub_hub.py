"""A Hub on this machine: enough of its interface for the clients to find commits and fetch files."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse


class LocalServer:
    """Serves on a port of its own until it is closed.

    Args:
        handler: of its requests.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class StubHub(LocalServer):
    """Serves one repository.

    Args:
        name: ``owner/repository``.
        commits: each commit's folder, the last of which is ``main``.
    """

    def __init__(self, name: str, commits: dict[str, Path]) -> None:
        self.fetched: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(with_content=False)

            def do_GET(self) -> None:
                self._answer(with_content=True)

            def _answer(self, *, with_content: bool) -> None:
                path = urlparse(self.path).path
                if path.startswith(f"/api/models/{name}"):
                    self._tell(path, with_content)
                elif path.startswith(f"/{name}/resolve/"):
                    revision, _, file = path.removeprefix(f"/{name}/resolve/").partition("/")
                    self._file(revision, file, with_content)
                else:
                    self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_content)

            def _tell(self, path: str, with_content: bool) -> None:
                rest = path.removeprefix(f"/api/models/{name}").strip("/").split("/")
                commit = self._commit(rest[1] if len(rest) > 1 else "main")
                files = sorted(file for file in commits[commit].rglob("*") if file.is_file())
                names = [file.relative_to(commits[commit]).as_posix() for file in files]
                told: Any = {"id": name, "sha": commit, "siblings": [{"rfilename": name} for name in names]}
                if rest[0] == "tree":
                    told = [
                        {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                        for name, file in zip(names, files, strict=True)
                    ]
                self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"}, with_content)

            def _file(self, revision: str, file: str, with_content: bool) -> None:
                commit = self._commit(revision)
                path = commits[commit] / file
                headers = {"X-Repo-Commit": commit}
                if not path.is_file():
                    self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"}, with_content)
                    return
                if with_content:
                    hub.fetched.append(f"{commit[:1]}:{file}")
                content = path.read_bytes()
                headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
                self._send(200, content, headers, with_content)

            def _commit(self, revision: str) -> str:
                return revision if revision in commits else list(commits)[-1]

            def _send(self, status: int, content: bytes, headers: dict[str, str], with_content: bool) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if with_content:
                    self.wfile.write(content)

        super().__init__(Handler)
