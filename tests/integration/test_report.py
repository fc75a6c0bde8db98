"""A study as something to read: the words are true, the page needs nothing else, the dashboard shows the same."""

from __future__ import annotations

import base64
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import optuna_dashboard
import pytest
import sqlalchemy
from matplotlib.figure import Figure
from optuna.artifacts import get_all_artifact_meta
from optuna.distributions import IntDistribution, distribution_to_json

from gloss_tune.confirm.confirmation import confirm, confirmation_of
from gloss_tune.errors import InputError, NonFiniteLossError
from gloss_tune.queue.claims import claim
from gloss_tune.report import ReportOptions, search_charts, style, write_report
from gloss_tune.report.facts import gather
from gloss_tune.report.importances import importances
from gloss_tune.signals import StopFlag
from gloss_tune.storage import schema
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.objective import ask, run_trial, tell
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.store import upload_confusion
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import ScriptedRun, contents, join, make

pytestmark = pytest.mark.prepared

GOOD = (0.80, 0.81, 0.82, 0.83, 0.84)
HOSTILE = "<script>alert(1)</script> | ![x](http://example.org/x.png) **bold**"


def run(opened: OpenStudy, *script: Any, seconds: float = 10.0, worker: str = "w-1") -> int:
    """Claim the next trial and end it as a worker does, with a scripted fine-tune."""
    claimed = claim(opened.storage, opened.study_id, worker)
    assert claimed is not None
    trial, params = ask(opened, claimed)
    ending = run_trial(opened, trial, params, lambda config: ScriptedRun(*script), lambda report: None)
    tell(opened, trial, claimed, ending, seconds, {"device": "cpu"})
    return claimed.number


def searched(url: str) -> OpenStudy:
    """Five complete trials, one pruned after epoch 1 of 4, one failed, one waiting."""
    opened = make(url, trials=8, train={"epochs": 4}, seed=1)
    for value in GOOD:
        run(opened, value - 0.2, value - 0.1, value, value, seconds=40.0)
    opened.storage.forget_claim(0)
    run(opened, 0.1, 0.1, 0.1, 0.1, seconds=20.0, worker="w-2")
    run(opened, 0.5, NonFiniteLossError(HOSTILE), seconds=5.0, worker="w-2")
    return join(url)


def report_of(opened: OpenStudy, tmp_path: Path, **options: Any) -> tuple[str, str]:
    """Markdown and HTML."""
    options = {"publish": False, **options}
    files = write_report(opened, ReportOptions(tmp_path / "report", tmp_path / "artifacts", **options))
    assert [file.name for file in files] == ["report.md", "report.html"]
    markdown, html = (file.read_text(encoding="utf-8") for file in files)
    return markdown, html


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """The report of :func:`searched`, which several tests read: Markdown, HTML, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("written")
    opened = searched(f"sqlite:///{folder}/study.db")
    markdown, html = report_of(opened, folder)
    opened.storage.remove_session()
    opened.storage.engine.dispose()
    return markdown, html, folder


class Page(HTMLParser):
    """Every tag and every place that a page would load or lead to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.places: list[str] = []
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.places.append(str(value))
            if name == "id":
                self.ids.add(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# ── what it says ──


def test_its_words_and_numbers_are_the_studys(written: tuple[str, str, Path]) -> None:
    markdown, _, folder = written
    opened = join(f"sqlite:///{folder}/study.db")
    assert "7 of 8 trials have ended: 5 complete, 1 pruned, 1 failed." in markdown
    assert "**The best is trial 4 with val_macro_f1 0.8400.** That is the highest of 5 results" in markdown
    assert "rehearsal" in markdown
    best = opened.storage.get_all_trials(opened.study_id)[4]
    for name, value in best.params.items():
        assert re.search(rf"\| {name.replace('_', '.?_')} \| {re.escape(f'{value:.4g}')} \|", markdown), name


def test_the_pruned_trial_saved_what_it_had_left(url: str, tmp_path: Path) -> None:
    """It took 20 s for 2 of 4 epochs (the pruner judges from the middle of a run): 20 s more would have been needed."""
    facts = gather(searched(url))
    assert [len(t.intermediate_values) for t in facts.trials if t.state.name == "PRUNED"] == [2]
    assert facts.cost.saved == pytest.approx(20.0)
    assert (facts.cost.pruned, facts.cost.failed) == (20.0, 5.0)
    assert facts.cost.seconds == 5 * 40 + 20 + 5
    assert [(w.name, w.trials, w.seconds) for w in facts.workers] == [("w-1", 5, 200.0), ("w-2", 2, 25.0)]


def test_a_best_value_at_the_edge_of_its_range_is_told(url: str, tmp_path: Path) -> None:
    edge = {"learning_rate": 1e-3, "temperature": 0.011, "mask_ratio": 0.5, "lpa_iterations": 7}
    opened = make(url, trials=2, first_trials=[edge])
    run(opened, 0.9)
    run(opened, 0.1)
    facts = gather(opened)
    assert facts.at_edge == {"learning_rate": "high", "temperature": "low"}
    markdown, _ = report_of(opened, tmp_path)
    assert "`--set space.temperature.low=…`" in markdown


def test_importances_find_what_matters(url: str) -> None:
    """Only the learning rate decides the value here."""
    opened = make(url, trials=20, sampler="random", pruner="none")
    for _ in range(20):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        trial, params = ask(opened, claimed)
        script = ScriptedRun(0.5 + 0.1 * float(np.log10(params["learning_rate"]) / 6))
        tell(
            opened,
            trial,
            claimed,
            run_trial(opened, trial, params, lambda c, s=script: s, lambda r: None),
            1,
            {},
        )
    found = gather(opened).importances
    assert found is not None
    shares = found.shares
    assert not found.sampled
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_confirmed_winner_comes_first(url: str, tmp_path: Path) -> None:
    opened = make(url, trials=4, pruner="none", train={"epochs": 2})
    work(opened, WorkerOptions(artifacts=tmp_path / "a"), StopFlag())
    child = confirm(opened, 2, 3).study
    unfinished, _ = report_of(join(url, opened.name), tmp_path)
    assert "Its confirmation has not finished." in unfinished
    work(child, WorkerOptions(artifacts=tmp_path / "a"), StopFlag())
    opened = join(url, opened.name)
    markdown, _ = report_of(opened, tmp_path)
    facts = gather(opened)
    assert facts.best is not None
    assert facts.ranking is not None
    assert facts.best["confirmed"]["n"] == 3
    winner = facts.ranking["candidates"][0]
    assert f"**The setting to use is that of trial {winner['number']}**" in markdown
    assert f"{winner['mean']:.4f} ± {winner['sd']:.4f}" in markdown


@pytest.mark.parametrize("ended", [0, 1])
def test_a_study_that_has_hardly_begun_has_a_report_too(url: str, tmp_path: Path, ended: int) -> None:
    opened = make(url)
    if ended:
        run(opened, NonFiniteLossError("x"))
    markdown, html = report_of(opened, tmp_path)
    assert "No trial is complete yet" in markdown
    assert "*Not drawn: no trial has a result yet.*" in markdown
    assert Page(html).open == []


def test_a_study_that_searches_nothing_has_a_report_too(url: str, tmp_path: Path) -> None:
    fixed = {"mask_ratio": 0.5, "lpa_iterations": 5, "temperature": 0.1, "learning_rate": 1e-4}
    opened = make(url, trials=1, space=fixed)
    run(opened, 0.5, 0.6)
    markdown, _ = report_of(opened, tmp_path)
    assert "searched nothing" in markdown


def test_a_confirmation_has_no_report_of_its_own(url: str, tmp_path: Path) -> None:
    opened = make(url, trials=2, pruner="none", train={"epochs": 1})
    work(opened, WorkerOptions(artifacts=tmp_path / "a"), StopFlag())
    confirm(opened, 1, 2)
    child = confirmation_of(opened)
    assert child is not None
    with pytest.raises(InputError, match="confirmation of"):
        report_of(child, tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(url: str, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        report_of(make(url), tmp_path)


# ── the page ──


def test_the_page_needs_nothing_from_elsewhere_and_obeys_no_html(written: tuple[str, str, Path]) -> None:
    _, html, _ = written
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert {"table", "figure", "nav"} <= set(page.tags)
    links = [place for place in page.places if not place.startswith("data:image/svg+xml;base64,")]
    assert links
    assert {link.removeprefix("#") for link in links} <= page.ids
    assert "url(" not in html
    assert "@import" not in html
    # the failed trial's reason is shown as it is
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | ![x](http://example.org/x.png) **bold**" in html


def test_every_picture_is_whole_and_in_both_files(written: tuple[str, str, Path]) -> None:
    markdown, html, folder = written
    names = re.findall(r"\]\((pictures/[\w-]+\.svg)\)", markdown)
    assert {"pictures/history.svg", "pictures/curves.svg", "pictures/timeline.svg"} <= set(names)
    inside = [base64.b64decode(data) for data in re.findall(r"svg\+xml;base64,([A-Za-z0-9+/=]+)", html)]
    assert inside == [(folder / "report" / name).read_bytes() for name in names]
    for svg in inside:
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        references = re.findall(rb'(?:xlink:)?href="([^"]+)"', svg)
        assert all(reference.startswith((b"#", b"data:")) for reference in references)


def test_the_same_study_gives_the_same_pictures(written: tuple[str, str, Path], tmp_path: Path) -> None:
    *_, folder = written
    url = f"sqlite:///{folder}/study.db"
    first = {path.name: path.read_bytes() for path in (folder / "report" / "pictures").iterdir()}
    before = contents(url)
    report_of(join(url), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "report" / "pictures").iterdir()} == first
    assert contents(url) == before  # --no-publish only reads


# ── the dashboard ──


def test_the_dashboard_shows_pictures_and_notes(storage_url: str, tmp_path: Path) -> None:
    opened = make(storage_url, trials=3, pruner="none", train={"epochs": 2})
    for value in (0.5, 0.7, 0.6):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        trial, params = ask(opened, claimed)
        ending = run_trial(opened, trial, params, lambda c, v=value: ScriptedRun(v), lambda r: None)
        upload_confusion(trial, ["no", "yes"], np.array([[5, 1], [2, 4]]), tmp_path / "artifacts")
        tell(opened, trial, claimed, ending, 1, {})
    opened = join(storage_url)
    report_of(opened, tmp_path, publish=True)
    study = optuna.load_study(study_name=opened.name, storage=opened.storage)
    note = optuna_dashboard.get_note(study)
    assert "The best is trial 1" in note
    metas = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}
    assert {"history.svg", "curves.svg", "trial-1-confusion.svg", "trial-2-learning-curve.svg"} <= set(metas)
    for path in re.findall(r"\]\((/artifacts/[^)]+)\)", note):
        assert (tmp_path / "artifacts" / path.rsplit("/", 1)[1]).read_bytes().startswith(b"<?xml")
    assert f"/{metas['history.svg']})" in note
    best = optuna.Trial(study, study.trials[1]._trial_id)
    assert "0.7000" in optuna_dashboard.get_note(best)
    assert f"/{metas['trial-1-confusion.svg']})" in optuna_dashboard.get_note(best)

    # again: nothing is added, somebody's own note is left alone
    optuna_dashboard.save_note(best, "mine")
    report_of(opened, tmp_path, publish=True)
    assert {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)} == metas
    assert optuna_dashboard.get_note(best) == "mine"
    assert optuna_dashboard.get_note(study) == note


def test_the_confusion_matrix_is_the_best_trials(url: str, tmp_path: Path) -> None:
    from gloss_tune.report.writing import _confusion

    opened = make(url, trials=1)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    for matrix in ([[1, 0], [0, 1]], [[7, 2], [0, 9]]):  # of two attempts the last one counts
        upload_confusion(trial, ["a,b", 'c"d'], np.array(matrix), tmp_path)
    ending = run_trial(opened, trial, params, lambda c: ScriptedRun(0.5), lambda r: None)
    tell(opened, trial, claimed, ending, 1, {})
    found = _confusion(gather(opened), tmp_path, 0)
    assert found is not None
    assert found[0] == ["a,b", 'c"d']
    assert found[1].tolist() == [[7, 2], [0, 9]]
    assert _confusion(gather(opened), tmp_path / "elsewhere", 0) is None


# ── thousands of trials, and four ──


def fill(opened: OpenStudy) -> None:
    """End every trial of a study in some statements; a third is pruned."""
    space = {searched.name: distribution_of(searched) for searched in opened.spec.ranges}
    generator = np.random.default_rng(0)
    with opened.storage.transaction() as session:
        keys = [key for (key,) in session.execute(sqlalchemy.select(schema.Trial.trial_id))]
        params, reports, values, attributes = [], [], [], []
        for number, key in enumerate(keys):
            at = generator.random(len(space))
            for (name, kind), place in zip(space.items(), at, strict=True):
                low, high = (kind.to_internal_repr(end) for end in (kind.low, kind.high))
                value = low * (high / low) ** place if kind.log else low + (high - low) * place
                value = float(round(value)) if isinstance(kind, IntDistribution) else value
                text = distribution_to_json(kind)
                params.append(
                    {"trial_id": key, "param_name": name, "param_value": value, "distribution_json": text}
                )
            value = float(0.8 - 0.3 * (at[0] - 0.5) ** 2 - 0.1 * at[1] + generator.normal(0, 0.01))
            values.append({"trial_id": key, "objective": 0, "value": value, "value_type": "FINITE"})
            reports += [
                {
                    "trial_id": key,
                    "step": epoch,
                    "intermediate_value": value,
                    "intermediate_value_type": "FINITE",
                }
                for epoch in range(1, 5)
            ]
            attributes += [
                {"trial_id": key, "key": "seconds", "value_json": "50"},
                {"trial_id": key, "key": "worker", "value_json": f'"w-{number % 8}"'},
            ]
        for model, rows in (
            (schema.TrialParam, params),
            (schema.TrialValue, values),
            (schema.TrialReport, reports),
            (schema.TrialUserAttribute, attributes),
        ):
            session.execute(sqlalchemy.insert(model.__table__), rows)
        trials = schema.Trial.__table__.c
        session.execute(
            sqlalchemy.update(schema.Trial.__table__).values(
                state=sqlalchemy.case((trials.number % 3 == 1, "PRUNED"), else_="COMPLETE"),
                datetime_start=datetime(2026, 11, 1),
                datetime_complete=datetime(2026, 11, 1, 0, 1),
            )
        )


def test_thousands_of_trials_take_seconds(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000 trials, a report once had no end: the importances took the square of the trials."""
    monkeypatch.setattr("gloss_tune.report.importances._MOST", 60)
    opened = make(url, trials=2100)
    fill(opened)
    began = time.process_time()
    markdown, html = report_of(opened, tmp_path)
    assert time.process_time() - began < 15
    assert "Estimated from 60 of the 1,400 complete trials, drawn at random." in markdown
    assert "of 400 of 2,100 trials, epoch by epoch" in markdown
    assert "One line a complete trial, of the 400 best" in markdown
    assert len(html) < 6_000_000
    names = [searched.name for searched in opened.spec.ranges]
    sampled = importances(gather(opened).trials, names)
    assert sampled is not None
    assert set(list(sampled.shares)[:2]) == set(names[:2]), "which decide the value here"
    assert f"`{next(iter(sampled.shares))}` explains" in markdown, "the same trials are drawn every time"


def drawn_points(picture: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, list[str]]:
    """Points within and below the axes of a picture, and all its texts."""
    found: list[tuple[int, int, list[str]]] = []

    def look(height: float, paint: Callable[[Figure], None]) -> bytes:
        figure = Figure()
        paint(figure)
        axes = figure.axes[0]
        points = [y for scatter in axes.collections for _, y in scatter.get_offsets()]
        low, high = axes.get_ylim()
        texts = [text.get_text() for each in figure.axes for text in each.texts]
        found.append((sum(low <= y <= high for y in points), sum(y < low for y in points), texts))
        return b""

    monkeypatch.setattr(search_charts, "draw", look)
    picture()
    return found[0]


@pytest.mark.parametrize("kind", ["history", "slices"])
@pytest.mark.parametrize(
    ("values", "below"),
    [
        ((0.84, 0.83, 0.4, 0.1), 0),
        ((0.5, 0.83, 0.831, 0.832), 0),
        ((0.8, 0.81) * 9 + (0.1, 0.2), 0),
        ((0.8, 0.81) * 15 + (0.1, 0.2, 0.7), 3),
        ((0.8, 0.79) * 8 + (0.5,) * 16, 0),
    ],
    ids=["four", "one low of four", "twenty", "outliers of many", "half low"],
)
def test_no_point_is_hidden_without_a_word(
    kind: str, values: Sequence[float], below: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(url, trials=len(values), pruner="none")
    for value in values:
        run(opened, value)
    facts = gather(opened)
    seen, hidden, texts = drawn_points(lambda: getattr(search_charts, kind)(facts), monkeypatch)
    assert (seen, hidden) == (len(values) - below, below)
    assert texts.count(f"↓ {below} trials below") == (0 if not below else 1 if kind == "history" else 4)


def test_the_lowest_points_that_are_shown_lie_at_the_lower_edge() -> None:
    low, high = style.focused([*np.linspace(0.7, 0.8, 30), 0.0])
    assert low == pytest.approx(0.694)
    assert high == pytest.approx(0.806)


def test_workers_in_other_time_zones_share_one_timeline(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are stored in UTC; a worker's own zone once moved its trials by hours."""
    opened = make(url, trials=4)
    for number, zone in enumerate(("UTC", "Asia/Shanghai", "America/New_York", "UTC")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        run(opened, 0.8, worker=f"w-{number}")
    trials = gather(opened).trials
    monkeypatch.undo()
    time.tzset()
    starts = [trial.datetime_start for trial in trials]
    ends = [trial.datetime_complete for trial in trials]
    assert (max(ends) - min(starts)).total_seconds() < 60
