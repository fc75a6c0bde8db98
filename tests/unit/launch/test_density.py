"""How many workers a device gets: the smallest of what memory, cores, trials and a cap allow, chosen once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gloss_tune.errors import DeviceSilentError, InputError
from gloss_tune.launch import density
from gloss_tune.launch.density import Density, kind_of, parse_per_device

GB = 10**9
NO_STUDY: Any = None  # what its trials took is told by the tests


def never(devices: Sequence[str]) -> Mapping[str, int]:
    raise AssertionError("there is nothing to measure for")


@pytest.fixture(autouse=True)
def all_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gloss_tune")


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Bytes of a worker on each kind of device, as far as finished trials have told."""
    told: dict[str, float] = {}
    monkeypatch.setattr(density, "worker_memory", lambda opened, kind: told.get(kind))
    return told


@pytest.mark.parametrize(
    ("free", "takes_each", "cores", "left", "workers"),
    [
        (10, 3.0, 16, 40, 3),  # memory for three and a bit
        (9, 3.0, 16, 40, 3),  # exactly
        (2, 3.0, 16, 40, 1),  # not even for one: its trials make smaller steps
        (80, 3.0, 4, 40, 4),  # cores
        (80, 3.0, 16, 2, 2),  # trials
        (80, 3.0, 16, 40, 8),  # the cap
    ],
)
def test_the_smallest_of_what_a_cuda_device_has_decides(
    takes: dict[str, float], free: int, takes_each: float, cores: int, left: int, workers: int
) -> None:
    takes["cuda"] = takes_each * GB
    chosen = Density(["cuda:0"], cores=lambda: cores, free=lambda _: {"cuda:0": free * GB})
    assert chosen.start(NO_STUDY, left) == ["cuda:0"] * workers
    assert chosen.settled


@pytest.mark.parametrize(
    ("free", "cores", "threads", "left", "workers"),
    [
        (100, 32, None, 40, 32),  # one for each core, however many
        (7, 32, None, 40, 3),
        (100, 32, None, 5, 5),
        (100, 32, 4, 40, 8),  # threads that were asked for want cores too
        (100, 2, 4, 40, 1),
    ],
)
def test_the_cpu_gets_one_worker_for_each_core_that_memory_holds(
    takes: dict[str, float], free: int, cores: int, threads: int | None, left: int, workers: int
) -> None:
    takes["cpu"] = 2.3 * GB
    chosen = Density(["cpu"], threads=threads, cores=lambda: cores, free=lambda _: {"cpu": free * GB})
    assert chosen.start(NO_STUDY, left) == ["cpu"] * workers


def test_before_a_trial_has_told_each_device_has_one_and_others_join_beside_those(
    takes: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    """Free memory is measured when it is needed: the first workers' own is not free any more."""
    measured: list[list[str]] = []

    def free(devices: Sequence[str]) -> Mapping[str, int]:
        measured.append(list(devices))
        return {"cuda:0": 10 * GB, "cuda:1": 3 * GB}

    chosen = Density(["cuda:0", "cuda:1"], cores=lambda: 16, free=free)
    assert chosen.start(NO_STUDY, 40) == ["cuda:0", "cuda:1"]
    assert chosen.grow(NO_STUDY, 39) == []  # that trial failed and told nothing
    assert (chosen.settled, measured) == (False, [])
    assert caplog.messages == [
        "No trial of this study has told yet how much memory it takes on cuda. Starting with one worker on each "
        "device; others join when the first trial has finished."
    ]
    caplog.clear()
    takes["cuda"] = 3.0 * GB
    assert chosen.grow(NO_STUDY, 38) == ["cuda:0", "cuda:1", "cuda:0", "cuda:0"]
    assert (chosen.settled, measured) == (True, [["cuda:0", "cuda:1"]])
    assert caplog.messages == [
        "4 workers on cuda:0: 10 GB free, one more takes 3.0 GB, 16 cores for 2 devices, 8 at most, 38 trials left.",
        "2 workers on cuda:1: 3.0 GB free, one more takes 3.0 GB, 16 cores for 2 devices, 8 at most, 38 trials left.",
    ]


@pytest.mark.parametrize(("left", "devices"), [(1, ["cuda:0"]), (2, ["cuda:0", "cuda:1"])])
def test_nothing_is_measured_where_trials_are_fewer_than_devices(left: int, devices: list[str]) -> None:
    chosen = Density(["cuda:0", "cuda:1"], cores=lambda: 16, free=never)
    assert chosen.start(NO_STUDY, left) == devices
    assert chosen.settled


def test_few_trials_are_spread_over_the_devices(takes: dict[str, float]) -> None:
    takes["cuda"] = 3.0 * GB
    chosen = Density(["cuda:0", "cuda:1"], cores=lambda: 16, free=lambda names: dict.fromkeys(names, 80 * GB))
    assert chosen.start(NO_STUDY, 3) == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.usefixtures("takes")
def test_workers_that_are_there_stay_though_few_trials_are_left(caplog: pytest.LogCaptureFixture) -> None:
    chosen = Density(["cuda:0", "cuda:1"], cores=lambda: 16, free=never)
    assert chosen.start(NO_STUDY, 40) == ["cuda:0", "cuda:1"]
    assert chosen.grow(NO_STUDY, 1) == []
    assert chosen.settled
    assert [message[:18] for message in caplog.messages[-2:]] == ["1 worker on cuda:0", "1 worker on cuda:1"]


def test_a_single_core_has_one_worker_without_measuring(caplog: pytest.LogCaptureFixture) -> None:
    assert Density(["cpu"], cores=lambda: 1, free=never).start(NO_STUDY, 40) == ["cpu"]
    assert caplog.messages == ["1 worker on cpu: 1 core, 40 trials left."]


def test_a_rehearsal_needs_cores_only(caplog: pytest.LogCaptureFixture) -> None:
    chosen = Density(["auto"], True, cores=lambda: 3, free=never)
    assert chosen.start(NO_STUDY, 40) == ["auto"] * 3
    assert caplog.messages == ["3 workers for a rehearsal: 3 cores, 40 trials left."]
    assert Density(["auto"], True, cores=lambda: 3, free=never).start(NO_STUDY, 2) == ["auto"] * 2


def test_where_memory_cannot_be_measured_the_first_workers_go_on_alone(
    takes: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    def silent(devices: Sequence[str]) -> Mapping[str, int]:
        raise DeviceSilentError("RuntimeError: no driver")

    takes["cuda"] = 3.0 * GB
    chosen = Density(["cuda:0"], cores=lambda: 16, free=silent)
    assert chosen.start(NO_STUDY, 40) == ["cuda:0"]
    assert chosen.settled
    assert "cannot be measured (RuntimeError: no driver)" in caplog.messages[-1]
    assert "--workers-per-device a number" in caplog.messages[-1]


def test_a_device_of_unknown_memory_is_refused() -> None:
    with pytest.raises(InputError, match=r"mps.*Give a number"):
        Density(["cpu", "mps"])


# ── the option ──


@pytest.mark.parametrize(("given", "parsed"), [(None, None), ("auto", "auto"), ("1", 1), ("12", 12)])
def test_a_number_or_auto(given: str | None, parsed: object) -> None:
    assert parse_per_device(given, None) == parsed


@pytest.mark.parametrize("given", ["", "0", "-1", "1.5", "two", "²", "AUTO", "1 "])
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="a number from 1 up, or auto"):
        parse_per_device(given, None)


def test_two_answers_to_one_question_are_refused() -> None:
    assert parse_per_device(None, 3) is None
    for given in ("2", "auto"):
        with pytest.raises(InputError, match="exclude each other"):
            parse_per_device(given, 3)


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cuda:1", "cuda"), ("GPU-8932f937", "cuda"), ("MIG-3f0a2e4c", "cuda"), ("cpu", "cpu")],
)
def test_a_card_named_by_its_uuid_is_a_card(device: str, kind: str) -> None:
    assert kind_of(device) == kind
