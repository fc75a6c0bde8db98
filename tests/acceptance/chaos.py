"""Everything that can happen to workers, at random and for as long as wanted, and then the sums.

Workers are killed, stopped and told to leave, each in another time zone, some under a clock that is set forth and back;
a Postgres server is restarted, crashed and made read-only, and the pooler before it is restarted.

pytest tests/acceptance/test_chaos.py                             about twenty seconds on each storage
CHAOS_SECONDS=600 pytest tests/acceptance/test_chaos.py --timeout 1500
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from gloss_tune.errors import StorageAwayError
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.study.status import trial_counts
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import Commands
from tests.acceptance.faked_clock import Clock
from tests.acceptance.processes import ForkServer, Process
from tests.servers import PgBouncer, PostgresServer

WORKERS = 8
TRIALS = 200
LEASE = 2
TURNED_AWAY = ("Error: Storage ", "Error: The storage does not ")
ZONES = ("UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham")


@dataclass
class Chaos:
    """One run.

    Args:
        commands: on the storage to try.
        seconds: how long workers are disturbed.
        seed: of what happens when.
        server: restarted and made read-only now and then, where there is one.
        pooler: through which ``commands`` reach it; restarted now and then.
        clock: of every second worker, set an hour forth or back every ten seconds.
        clocked: starts workers under that clock.
        peaceful: whether nobody is killed, stopped or told to leave, and the server stays up.
    """

    commands: Commands
    seconds: float
    seed: int
    server: PostgresServer | None
    pooler: PgBouncer | None = None
    clock: Clock | None = None
    clocked: ForkServer | None = None
    peaceful: bool = False
    happened: Counter[str] = field(default_factory=Counter)

    def run(self) -> OpenStudy:
        """Disturb the workers, then let them finish in peace; give the finished study."""
        # so long that work is left until the end of the disturbance
        each = WORKERS * self.seconds / TRIALS
        self.commands(
            "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", each, "--trials", TRIALS,
            "--epochs", 5, "--lease", LEASE, "--sampler", "random", "--pruner", "none", "--set", "max_attempts=100000",
            "--set", "train.patience=10",
        )  # fmt: skip
        self._random = random.Random(self.seed)
        self._workers = [self._start() for _ in range(WORKERS)]
        self._all = list(self._workers)
        self._stopped: dict[int, float] = {}
        self._next_step = self._next_event = time.monotonic()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self._random.uniform(0.05, 0.5))
            self._wake(now=False)
            self._set_clock()
            self._disturb()
            self._replace()
        self._wake(now=True)
        storage = self.commands.storage
        assert storage is not None
        opened = _open(storage)
        deadline = time.monotonic() + 2 * self.seconds + 60
        while (left := trial_counts(opened))["running"] + left["waiting"]:
            assert time.monotonic() < deadline, left
            self._replace()
            time.sleep(0.2)
        for worker in self._all:
            code = worker.wait()
            # one that is started while the server is away says so and leaves
            turned_away = (
                code in (1, 69) and self.server is not None and worker.stderr.startswith(TURNED_AWAY)
            )
            # one that is told to stop before it listens ends by the signal itself, having done nothing
            unborn = code in (-signal.SIGTERM, -signal.SIGINT) and not worker.stderr
            assert turned_away or unborn or code in (0, 130, 143, -signal.SIGKILL), (code, worker.stderr)
            assert "Traceback" not in worker.stderr, worker.stderr
        print(len(self._all), "workers;", dict(self.happened))  # for pytest -rP
        return opened

    def _start(self) -> Process:
        zones = {"TZ": self._random.choice(ZONES), "PGTZ": self._random.choice(ZONES)}
        grace, server = self._random.choice([0, 0.5, 2]), self._random.choice([None, self.clocked])
        return self.commands.start("worker", "--grace", grace, env=zones, server=server)

    def _set_clock(self) -> None:
        if self.clock is not None and time.monotonic() >= self._next_step:
            self.happened["clock set"] += 1
            self.clock.set(self._random.choice(["-1h", "+1h", "+0"]))
            self._next_step = time.monotonic() + 10

    def _disturb(self) -> None:
        if self.peaceful and time.monotonic() < self._next_event:
            return
        self._next_event = time.monotonic() + 15
        victim = self._random.choice(self._workers)
        if victim.poll() is not None or victim.pid in self._stopped:
            return
        kinds = {} if self.peaceful else {"kill": 4, "stop": 4, "terminate": 2, "interrupt": 1}
        if self.server is not None:
            kinds |= {"read only": 1} if self.peaceful else {"restart": 1, "read only": 1}
        if self.pooler is not None:
            kinds["pooler restart"] = 1
        if not kinds:
            return
        kind = self._random.choices(list(kinds), list(kinds.values()))[0]
        self.happened[kind] += 1
        if kind == "kill":
            victim.send(signal.SIGKILL)
        elif kind == "stop":
            victim.send(signal.SIGSTOP)
            self._stopped[victim.pid] = time.monotonic() + self._random.uniform(0.2, 2.5 * LEASE)
        elif kind == "terminate":
            victim.send(signal.SIGTERM)
        elif kind == "interrupt":
            victim.send(signal.SIGINT)
            if self._random.random() < 0.3:
                victim.send(signal.SIGINT)
        elif kind == "pooler restart":
            assert self.pooler is not None
            self.pooler.stop()
            time.sleep(self._random.uniform(0.0, 1.0))
            self.pooler.start()
        elif kind == "read only":
            assert self.server is not None
            self.server.set_read_only(True)
            time.sleep(self._random.uniform(0.0, 1.0))
            self.server.set_read_only(False)
        else:
            assert self.server is not None
            with self.server.outage(crash=self._random.random() < 0.5):
                time.sleep(self._random.uniform(0.0, 1.5))

    def _wake(self, now: bool) -> None:
        for pid, when in list(self._stopped.items()):
            if now or time.monotonic() >= when:
                (worker,) = (w for w in self._all if w.pid == pid)
                if worker.poll() is None:
                    worker.send(signal.SIGCONT)
                del self._stopped[pid]

    def _replace(self) -> None:
        for index, worker in enumerate(self._workers):
            if worker.poll() is not None:
                self._workers[index] = self._start()
                self._all.append(self._workers[index])


def _open(storage: str) -> OpenStudy:
    """A pooler refuses everybody for some seconds after its server was away."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return open_study(storage, read_only=True)
        except StorageAwayError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def check(opened: OpenStudy) -> None:
    """Exactly the budget, each trial finished once with the value of its undisturbed run, none like another."""
    rows = read_trials(opened)
    assert [row["number"] for row in rows] == list(range(TRIALS))
    assert Counter(row["state"] for row in rows) == {"complete": TRIALS}
    assert len({str(row["params"]) for row in rows}) == TRIALS
    for row in rows:
        run = Rehearsal(opened.spec.config(row["params"]))
        reports = list(run.epochs())
        assert run.best is not None
        assert (row["value"], row["epochs"]) == (run.best.metrics["val_macro_f1"], len(reports)), row
