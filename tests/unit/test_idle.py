"""How many cores strangers leave: from injected counters, and from this machine's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator

import pytest

from gloss_tune import idle
from gloss_tune.idle import Counters, IdleCores, Quota, cores_left, read_counters


def reading(
    at: float, busy: float = 0.0, own: float = 0.0, *, cores: int = 2, quotas=None, neighbours=None
) -> Counters:
    """All processors together were busy for ``busy`` seconds."""
    return Counters(at, dict.fromkeys(range(cores), busy / cores), quotas or {}, own, neighbours or {})


START = reading(0.0)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (reading(1.0), 2.0),
        (reading(1.0, busy=1.0), 1.0),
        (reading(0.5, busy=1.0), 0.0),
        (reading(2.0, busy=4.0, own=4.0), 2.0),
        (reading(2.0, busy=4.0, own=3.0), 1.5),
        # clocks of different grain must not give cores that are not there
        (reading(1.0, busy=0.9, own=1.0), 2.0),
        (reading(1.0, busy=9.0), 0.0),
        (reading(1.0, busy=64.0, cores=64), 0.0),
    ],
)
def test_what_strangers_do_not_use_is_left(now: Counters, left: float) -> None:
    assert cores_left(reading(0.0, cores=len(now.busy)), now) == pytest.approx(left)


def test_a_neighbour_is_no_stranger_but_its_past_is_not_ours_either() -> None:
    before, now = (
        reading(10.0, neighbours={7: 100.0}),
        reading(11.0, busy=2.0, own=1.0, neighbours={7: 101.0}),
    )
    assert cores_left(before, now) == pytest.approx(2.0)
    newcomer = reading(11.0, busy=1.0, neighbours={7: 101.0, 8: 500.0})
    assert cores_left(before, newcomer) == pytest.approx(2.0), (
        "what it used before it was known is not counted"
    )


def test_strangers_in_the_same_container_use_up_its_quota() -> None:
    before = reading(0.0, cores=64, quotas={"/pod": Quota(4.0, 50.0)})
    for used, own, busy, left in ((50.0, 0.0, 0.0, 4.0), (53.0, 1.0, 3.0, 2.0), (52.0, 2.0, 62.0, 4.0)):
        now = reading(1.0, busy=busy, own=own, cores=64, quotas={"/pod": Quota(4.0, used)})
        assert cores_left(before, now) == pytest.approx(left)


class Clock:
    """A machine on which a stranger keeps some cores busy."""

    def __init__(self, strangers: float = 0.0) -> None:
        self.now, self.busy, self.strangers, self.slept = 0.0, 0.0, strangers, list[float]()

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds * self.strangers

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_by(seconds)

    def read(self, neighbours: Collection[int]) -> Counters:
        return reading(self.now, busy=self.busy)


def test_only_the_last_moments_count() -> None:
    clock = Clock(strangers=2.0)
    cores = IdleCores(clock.read, clock.sleep)
    clock.pass_by(3.0)
    assert cores.left() == pytest.approx(0.0)
    clock.strangers = 0.0  # the installation has ended
    clock.pass_by(0.4)
    assert cores.left() == pytest.approx(2.0)
    assert not clock.slept
    clock.pass_by(0.1)
    clock.strangers = 1.0
    assert cores.left() == pytest.approx(2.0 - 0.2 / 0.3)
    assert clock.slept == [pytest.approx(0.2)], "too short a look is made longer"


def test_a_look_of_long_ago_says_nothing() -> None:
    clock = Clock(strangers=2.0)
    cores = IdleCores(clock.read, clock.sleep)
    clock.pass_by(60.0)
    clock.strangers = 0.0
    assert cores.left() == pytest.approx(2.0)
    assert clock.slept == [idle.SHORTEST]


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    time.sleep(0.1)
    yield process
    process.kill()
    process.wait()


def test_a_child_is_ours_on_this_machine_too(spinning: subprocess.Popen[bytes]) -> None:
    before = read_counters(())
    time.sleep(0.3)
    now = read_counters(())
    assert now.own - before.own > 0.02
    assert sum(now.busy.values()) - sum(before.busy.values()) > 0.02
    assert 1 <= len(now.busy) <= (os.cpu_count() or 1)


def test_a_neighbour_that_has_gone_is_left_out(spinning: subprocess.Popen[bytes]) -> None:
    assert read_counters([spinning.pid]).neighbours.keys() == {spinning.pid}
    spinning.kill()
    spinning.wait()
    assert not read_counters([spinning.pid]).neighbours


STAT = """cpu  10 0 10 100 0 0 0 0 0 0
cpu0 100 20 30 1000 50 6 4 99 7 7
cpu3 1 0 0 1000 0 0 0 0 0 0
intr 5
"""


def test_processors_by_number_without_waiting_or_stolen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    assert dict(idle._processors(STAT)) == {0: pytest.approx(1.6), 3: pytest.approx(0.01)}


def test_quotas_of_all_groups_around_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    inner = tmp_path / "kubepods" / "pod1"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("350000 100000\n")
    (inner.parent / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\n")
    (tmp_path / "own").write_text("0::/kubepods/pod1\n")
    monkeypatch.setattr(idle, "_CGROUPS", tmp_path)
    monkeypatch.setattr(idle, "_CGROUP", tmp_path / "own")
    assert dict(idle._quotas()) == {str(inner.parent): Quota(3.5, 2.5)}
    (tmp_path / "own").write_text("4:cpu,cpuacct:/old\n")
    assert not dict(idle._quotas())
