"""``gloss-tune dashboard``: optuna-dashboard on the study's storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, Storage

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    artifacts: Artifacts = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; there is no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")] = 8080,
    writable: Annotated[
        bool, typer.Option("--writable", help="Let visitors change and delete studies.")
    ] = False,
) -> None:
    """Show all studies of a storage in the browser, with artifacts; visitors can only look unless --writable.

    Example: gloss-tune dashboard --port 8080
    """
    from gloss_tune.logging import logger
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.artifacts.store import artifacts_folder

    application = build_application(storage, artifacts_folder(storage, artifacts), writable)
    with stop_on_signal() as stop, _listen(host, port, application) as server:
        mode = "writable" if writable else "read-only"
        logger.info("Dashboard (%s) on http://%s:%d/ — stop with Ctrl-C.", mode, *server.server_address[:2])
        server.timeout = 0.5
        while stop.signum is None:
            server.handle_request()
    raise typer.Exit(stop.exit_code)


def build_application(storage: str, artifacts: Any, writable: bool) -> Application:
    """optuna-dashboard as a WSGI application, with its artifact store; read-only unless ``writable``."""
    import optuna_dashboard

    from gloss_tune.storage.connect import open_storage
    from gloss_tune.workers.artifacts.store import artifact_reader, artifact_store

    opened = open_storage(storage, read_only=not writable)
    store = artifact_store(artifacts) if writable else artifact_reader(artifacts)
    application: Application = optuna_dashboard.wsgi(opened, artifact_store=store)
    return application if writable else read_only(application)


def read_only(application: Application) -> Application:
    """Answer 405 to every request that is not a read: optuna-dashboard itself lets anybody delete a study."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _READING:
            return application(environ, start_response)
        start_response(
            "405 Method Not Allowed",
            [("Content-Type", "application/json"), ("Allow", ", ".join(sorted(_READING)))],
        )
        return [b'{"reason": "This dashboard is read-only; start it with --writable to change studies."}']

    return guarded


def _listen(host: str, port: int, application: Application) -> Any:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from gloss_tune.errors import InputError

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """No line per request."""

    class Threaded(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    try:
        return make_server(host, port, application, server_class=Threaded, handler_class=Quiet)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"Cannot listen on {host}:{port} ({error}); choose another --port or --host"
        ) from None
