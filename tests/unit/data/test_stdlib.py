"""The embedded data set, built from the Python that runs the tests."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gloss_tune.data import load_dataset, stdlib
from gloss_tune.data.stdlib import CHAPTERS, MAX_PER_CLASS, MIN_WORDS, stdlib_documents, without_label
from gloss_tune.errors import DataError


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("stdlib")  # cached in the home that all tests of a run share


def all_texts(dataset):
    return [*dataset.train.texts, *dataset.val.texts, *dataset.test.texts]


def test_it_is_large_and_balanced_enough(dataset):
    assert len(dataset.classes) >= 6
    sizes = sum(np.bincount(split.labels) for split in (dataset.train, dataset.val, dataset.test))
    assert sizes.max() <= MAX_PER_CLASS
    assert np.sort(sizes)[-6:].min() >= 300
    share = len(dataset.train) / len(all_texts(dataset))
    assert 0.65 < share < 0.75
    assert set(dataset.val.labels) == set(dataset.test.labels) == set(range(len(dataset.classes)))


def test_texts_are_distinct_words_on_one_line(dataset):
    texts = all_texts(dataset)
    keys = Counter(" ".join(re.findall("[a-z]{2,}", text.lower())) for text in texts)
    assert keys.most_common(1)[0][1] == 1
    assert min(len(key.split()) for key in keys) >= MIN_WORDS
    assert not any("\n" in text for text in texts)
    assert len(dataset.warnings) == len(CHAPTERS) - len(dataset.classes)


def test_no_text_names_a_module_a_class_or_a_dotted_path(dataset):
    hidden = {module.strip("_").lower() for modules in CHAPTERS.values() for module in modules.split()}
    hidden |= set(CHAPTERS)
    for text in all_texts(dataset):
        assert not hidden & set(re.findall(r"[^\W_]+", text.lower())), text
        assert not re.search(r"\w\.\w", text), text
        assert ">>>" not in text


@pytest.mark.parametrize(
    ("docstring", "left"),
    [
        ("Parse JSON with json.loads(s), as in email.message.", "Parse with (s), as in ."),
        (
            "Calls json_type and _json; see https://docs.example.org/json.html now",
            "Calls _type and _; see now",
        ),
        ("Adds.\n\n>>> from decimal import Decimal\n>>> 1 + 1\n2\n\nThen rests.", "Adds. Then rests."),
        ("A jsonified, threaded text", "A jsonified, threaded text"),
        ("The Message of a MESSAGE", "The of a"),
    ],
)
def test_what_is_taken_out(docstring, left):
    assert without_label(docstring, {"message"}) == left


def test_it_can_be_learned_but_not_from_a_giveaway(dataset):
    """A linear model on words: well above chance (1 in 9), well below what a leaked label would give."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier

    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    model = RidgeClassifier(solver="sparse_cg").fit(
        words.fit_transform(dataset.train.texts), dataset.train.labels
    )
    accuracy = model.score(words.transform(dataset.val.texts), dataset.val.labels)
    assert 0.6 < accuracy < 0.9


@pytest.fixture
def small_library(tmp_path, monkeypatch):
    """A standard library of two modules, each with 60 documented functions."""
    root = tmp_path / "python"
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for module, topic in (("threading", "locks"), ("tarfile", "archives")):
        said = (
            f"Says {numbers[n // 10]} and {numbers[n % 10]} about {topic} in many words." for n in range(60)
        )
        bodies = (f'def f():\n    """{text}"""\n' for text in said)
        root.mkdir(exist_ok=True)
        (root / f"{module}.py").write_text("\n".join(bodies))
    monkeypatch.setattr(stdlib.sysconfig, "get_path", lambda _: str(root))
    return root


def test_small_classes_are_left_out_with_a_warning(small_library):
    splits, warnings = stdlib_documents()
    assert {label for documents in splits.values() for _, label in documents} == {"concurrency", "files"}
    assert sum(map(len, splits.values())) == 120
    assert len(warnings) == len(CHAPTERS) - 2
    assert "'gui' is left out: this Python has only 0" in " ".join(warnings)


def test_a_python_without_sources(small_library):
    (small_library / "tarfile.py").unlink()
    with pytest.raises(DataError, match="holds too few of them"):
        stdlib_documents()


def test_a_text_of_two_chapters_and_a_broken_source_are_left_out(small_library):
    first = small_library / "threading.py"
    shared = '\ndef g():\n    """Is said of both topics in the very same nine words."""\n'
    for name in ("threading.py", "tarfile.py"):
        with (small_library / name).open("a") as file:
            file.write(shared)
    (small_library / "queue.py").write_text("def (:")
    splits, _ = stdlib_documents()
    texts = [text for documents in splits.values() for text, _ in documents]
    assert len(texts) == 120
    assert not any("both topics" in text for text in texts)
    assert first.is_file()


def test_it_is_built_once_and_again_where_the_sources_or_the_cache_changed(
    small_library, own_cache, monkeypatch
):
    builds = []
    real = stdlib._label_documents
    monkeypatch.setattr(stdlib, "_label_documents", lambda *args: builds.append(1) or real(*args))
    first = stdlib_documents()
    assert stdlib_documents() == first
    assert len(builds) == 1
    (cached,) = (own_cache / "stdlib").iterdir()
    for damage in (cached.read_bytes()[:-20], b"", json.dumps([1, 2]).encode()):
        cached.write_bytes(damage)
        assert stdlib_documents() == first
    assert len(builds) == 4
    with (small_library / "tarfile.py").open("a") as file:
        file.write('\ndef g():\n    """Is new here and is said in nine words or so."""\n')
    assert stdlib_documents() != first
    assert len(builds) == 5


def test_a_cache_that_cannot_be_written_to(small_library, monkeypatch, caplog, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(blocked))
    splits, _ = stdlib_documents()
    assert sum(map(len, splits.values())) == 120
    assert "could not be cached" in caplog.text


def test_nothing_of_the_library_is_imported(small_library):
    trap = small_library / "sched.py"
    trap.write_text('"""Runs."""\nfrom pathlib import Path\nPath(__file__).with_suffix(".ran").touch()\n')
    stdlib_documents()
    assert not Path(trap).with_suffix(".ran").exists()
