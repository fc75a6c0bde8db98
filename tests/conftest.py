"""Fixtures for all tests: isolation from this machine, a Postgres server, storage URLs, the command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.hostile import SESSIONS
from tests.servers import PgBouncer, PostgresServer, ServerUnavailableError, postgres_binaries

REPOSITORY = Path(__file__).resolve().parents[1]

# Set before torch is imported: xdist's processes share the cores, and no test may reach for the network.
QUIET_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}
os.environ.update(QUIET_ENVIRONMENT)
# The developer's own settings must not reach a test; the tests of the published data need GLOSS_TUNE_DATA.
for _name in [name for name in os.environ if name.startswith("GLOSS_TUNE_") and name != "GLOSS_TUNE_DATA"]:
    del os.environ[_name]

# No deadline: a busy machine is no fault. In CI the same examples every time, so that failures repeat.
settings.register_profile("gloss-tune", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gloss-tune")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow, too")
    parser.addoption("--hostile-session", choices=SESSIONS, help="run all tests in one of tests/hostile.py")


def pytest_configure(config: pytest.Config) -> None:
    """Child processes have the session's settings as well."""
    os.environ.update(SESSIONS.get(config.getoption("--hostile-session"), {}))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, unless it was asked for, or named outright."""
    if config.getoption("--slow") or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of everything that runs under test; its caches are shared by the whole run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_traces_at_home(home: Path) -> Iterator[None]:
    """Keep tests from reading or writing the developer's own caches and configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A Postgres server of this test process alone: a test may stop and restart it."""
    try:
        server = PostgresServer(postgres_binaries())
    except ServerUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs a Postgres server. {error}")
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh Postgres database, with a password; with tables where the test is marked ``prepared``."""
    postgres_server.start()  # the test before may have ended during an outage
    prepared = request.node.get_closest_marker("prepared")
    template = request.getfixturevalue("prepared_postgres") if prepared else "template1"
    with postgres_server.database(template) as url:
        yield url


@pytest.fixture
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A pooler in transaction mode, in front of the server; the test is skipped where none is installed."""
    postgres_server.start()
    try:
        bouncer = PgBouncer(postgres_server)
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    yield bouncer
    bouncer.close()


@pytest.fixture(scope="session")
def prepared_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a database with Optuna's tables, to copy: making them takes longer than most tests."""
    with postgres_server.database() as url:
        _prepare(url)
        yield url.rpartition("/")[2]


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("prepared") / "study.db"
    _prepare(f"sqlite:///{path}")
    return path


def _prepare(url: str) -> None:
    from gloss_tune.storage.connect import open_storage

    storage = open_storage(url, create=True)
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database, once for each kind of storage."""
    if request.param == "sqlite":
        if request.node.get_closest_marker("prepared"):
            shutil.copyfile(request.getfixturevalue("prepared_sqlite"), tmp_path / "study.db")
        return f"sqlite:///{tmp_path / 'study.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


class CommandLine:
    """``gloss-tune`` as real processes, with a home folder and an environment of their own.

    Args:
        folder: where the processes run, unless ``cwd`` names another folder.
        home: their home folder.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._home = home
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *arguments: object,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 120,
        exit_code: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, and require its exit code (None: any).

        Returns:
            Arguments, exit code, and what it wrote to stdout and stderr.
        """
        process = self.popen(*arguments, cwd=cwd, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._kill(process)
            stdout, stderr = process.communicate()
            pytest.fail(f"{_shown(arguments)} ran longer than {timeout:g} s\n{stdout}\n{stderr}")
        if exit_code is not None and process.returncode != exit_code:
            pytest.fail(
                f"{_shown(arguments)} ended with {process.returncode}, not {exit_code}\n"
                f"stdout:\n{stdout}\nstderr:\n{stderr}"
            )
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def popen(
        self, *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start one command in a process group of its own; what is left of the group ends with the test."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gloss_tune", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self._folder,
            env=self._environment() | (env or {}),
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End every process that is left, and the pipes to it."""
        for process in self._started:
            self._kill(process)
            process.communicate()

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            **{name: value for name, value in os.environ.items() if name.startswith("PG")},
            **QUIET_ENVIRONMENT,
            "HOME": str(self._home),
            "PYTHONPATH": str(REPOSITORY),
        }

    @staticmethod
    def _kill(process: subprocess.Popen[str]) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _shown(arguments: tuple[object, ...]) -> str:
    return " ".join(["gloss-tune", *map(str, arguments)])


@pytest.fixture
def gloss_tune_cli(tmp_path: Path, home: Path) -> Iterator[CommandLine]:
    """``gloss_tune_cli("status", "--storage", url)`` runs a command; ``.popen(...)`` starts one."""
    command_line = CommandLine(tmp_path, home)
    yield command_line
    command_line.close()
