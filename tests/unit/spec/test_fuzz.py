"""No input of any kind gives anything but a valid result or the error meant for it."""

from __future__ import annotations

import datetime
import json
import math
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from gloss_tune.errors import SpecError, StorageError
from gloss_tune.logging import redact
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.layers import parse_assignments
from gloss_tune.spec.space import DEFAULT_RANGES
from gloss_tune.spec.spec import StudySpec, default_study_name
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.inputs import differences
from gloss_tune.study.samplers import build_pruner, build_sampler

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # Optuna's, of steps that do not fit their range


def quick(examples: int) -> settings:
    """The same examples in each run; for a longer hunt, take derandomize away and raise the number."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


NUMBERS = st.one_of(
    st.integers(-3, 60),
    st.floats(-0.5, 3),
    st.floats(),
    st.sampled_from([0, 1e-300, 1e300, 2**63, -(2**63), 10**30, 10**400, math.inf, math.nan, -0.0, 5.0]),
)
SCALARS = st.one_of(
    NUMBERS,
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["gloss", "ce", "grid", "published", "auto"]),
    st.just(datetime.date(2024, 1, 1)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["low", "high", "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)
RANGES = st.fixed_dictionaries(
    {},
    optional={
        "low": NUMBERS,
        "high": NUMBERS,
        "log": st.booleans() | SCALARS,
        "step": NUMBERS | SCALARS,
        "points": st.integers(-1, 6) | SCALARS,
        "choices": st.lists(SCALARS, max_size=3) | SCALARS,
    },
)
NAMES = st.sampled_from([*DEFAULT_RANGES, "patience", "precision", "seed", "nonsense"])
FIELDS = st.sampled_from([*StudySpec.model_fields, "nonsense"])
LAYERS = st.fixed_dictionaries(
    {},
    optional={
        "loss": st.sampled_from(["gloss", "ce", "scl", "triplet", "cosine"]) | VALUES,
        "mode": st.sampled_from(["integrated", "standalone"]) | VALUES,
        "sampler": st.sampled_from(["tpe", "random", "grid", "qmc"]) | VALUES,
        "pruner": st.sampled_from(["median", "hyperband", "none"]) | VALUES,
        "trials": st.integers(0, 40) | VALUES,
        "train": st.dictionaries(NAMES, VALUES, max_size=3) | VALUES,
        "space": st.dictionaries(NAMES, RANGES | VALUES, max_size=3) | VALUES,
        "first_trials": st.lists(st.dictionaries(NAMES, SCALARS, max_size=2) | SCALARS, max_size=2) | VALUES,
    },
)


def check_whole(spec: StudySpec) -> None:
    """A specification that was accepted can be stored, read back, and drawn from."""
    stored = json.loads(json.dumps(spec.to_dict(), allow_nan=False))
    stored["first_trials"] = tuple(stored["first_trials"])
    assert differences(StudySpec.model_validate(stored).to_dict(), spec.to_dict()) == []
    assert default_study_name(spec)
    lows = {r.name: r.bounds()[0] for r in spec.ranges}
    for searched in spec.ranges:
        distribution = distribution_of(searched)
        for bound in searched.bounds():
            distribution.to_internal_repr(bound)
            spec.config({**lows, searched.name: bound}).validate()
    build_sampler(spec, 0)
    build_pruner(spec)


@quick(300)
@given(below=LAYERS, above=st.dictionaries(FIELDS, VALUES, max_size=2))
@example({}, {})
@example({"space": {"epochs": {"low": 1, "high": 2**63}}, "pruner": "hyperband"}, {})
def test_any_layers_give_a_whole_spec_or_its_faults(below: dict[str, Any], above: dict[str, Any]) -> None:
    try:
        spec = build_spec({"dataset": "mr"}, below, above)
    except SpecError as error:
        assert all(fault.strip() for fault in error.faults)
        return
    check_whole(spec)


@quick(800)
@given(
    st.sampled_from(sorted(DEFAULT_RANGES)),
    RANGES | VALUES,
    st.sampled_from(["space", "train", "first"]),
    st.sampled_from(["gloss", "triplet"]),
)
def test_any_range_of_one_hyperparameter_is_whole_or_faulty(
    name: str, value: Any, where: str, loss: str
) -> None:
    """One thing wrong in an otherwise sound specification, so that every check is reached."""
    first = {"first_trials": [{name: value}], "space": {name: {}}}
    layer = first if where == "first" else {where: {name: value}}
    try:
        spec = build_spec({"dataset": "mr", "loss": loss, "sampler": "random"}, layer)
    except SpecError as error:
        assert all(fault.strip() for fault in error.faults)
        return
    check_whole(spec)


TOML_PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "[",
                "]",
                "{",
                "}",
                "=",
                ",",
                '"',
                "'",
                '"""',
                "\n",
                "\\",
                "#",
                ".",
                "inf",
                "nan",
                "true",
                "1e-5",
                "2024-01-01",
                "low",
                "0x",
                "\0",
                "\udcff",
                "é",
            ]
        ),
        st.text(string.printable, max_size=4),
    ),
    max_size=6,
).map("".join)
KEYS = st.lists(FIELDS | NAMES | st.sampled_from(["low", "high", "choices", "", " "]), max_size=4).map(
    ".".join
)


@quick(300)
@given(st.lists(st.one_of(TOML_PIECES, st.builds("{}={}".format, KEYS, TOML_PIECES | NUMBERS)), max_size=3))
def test_any_assignments_give_a_whole_spec_or_its_faults(assignments: list[str]) -> None:
    try:
        spec = build_spec({"dataset": "mr"}, parse_assignments(assignments))
    except SpecError as error:
        assert error.faults
        return
    check_whole(spec)


URL_PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "sqlite",
                "postgresql",
                "postgres",
                "mysql",
                "+psycopg",
                "+aiosqlite",
                "://",
                ":///",
                "////",
                "/",
                ":memory:",
                "file:",
                "?",
                "&",
                "mode=memory",
                "uri=true",
                "@",
                ":",
                "user",
                "host",
                "[::1]",
                "99999",
                "%",
                "%00",
                "{",
                "}",
                "\0",
                "\udcff",
                " ",
                "é",
                "x.db",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=8,
).map("".join)


@quick(500)
@given(URL_PIECES)
def test_any_storage_url_is_parsed_or_refused(text: str) -> None:
    try:
        url = parse_storage_url(text)
    except StorageError:
        return
    assert isinstance(url, URL)
    assert url.get_backend_name() in ("sqlite", "postgresql")


SECRET_PIECES = st.text(string.ascii_letters + string.digits + ":/.-_%+!$*,;~()[]{}", min_size=1, max_size=12)


@quick(300)
@given(
    head=st.sampled_from(
        ["postgresql://", "postgresql+psycopg://", "mysql://", "postgresql//", "postgresql:/", "", "http://"]
    ),
    user=st.sampled_from(["", "me", "me@corp", "a.b-c", "dom\\me"]),
    password=SECRET_PIECES.map(lambda text: f"S3CR{text}"),
    tail=st.sampled_from(["host/db", "host:5432/db?sslmode=require", "[::1]/db", "host", ""]),
)
def test_no_refusal_of_a_url_shows_its_password(head: str, user: str, password: str, tail: str) -> None:
    text = f"{head}{user}:{password}@{tail}"
    try:
        shown = parse_storage_url(text).render_as_string(hide_password=True)
    except StorageError as error:
        shown = str(error)
    assert "S3CR" not in redact(shown)


@quick(300)
@given(st.text(), SECRET_PIECES.filter(lambda text: " " not in text), st.text())
def test_redaction_masks_a_password_wherever_it_stands(before: str, password: str, after: str) -> None:
    text = f"{before} postgresql://me:S3CR{password}@host/db {after}"
    assert "S3CR" not in redact(text)
    assert "host/db" in redact(text)
