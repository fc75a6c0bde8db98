"""Tokens: the tokenizer's own, made once, whatever happens to the cache."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from gloss_tune.data import Split, tokenize_split, tokens

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran"]
ROWS = [("the cat sat", "a"), ("a dog ran on and on and on and on", "b"), ("zebra", "a"), ("mat", "b")]


def make_tokenizer(words=WORDS):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Words(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        ),
        "-".join(words),
    )


class Words:
    """As an encoder's preprocessor is to the cache."""

    def __init__(self, tokenizer, fingerprint):
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint

    def __call__(self, texts, max_length):
        return self.tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def split(make_split):
    return make_split(ROWS)


@pytest.fixture
def encodings(monkeypatch):
    """How often texts were really tokenised."""
    calls = []
    real = tokens._encode
    monkeypatch.setattr(tokens, "_encode", lambda *args: calls.append(1) or real(*args))
    return calls


def tokenize(split, tokenizer, folder, *, max_length=6):
    return tokenize_split(
        split,
        tokenizer,
        dataset_fingerprint="f00d",
        split_name="train",
        max_length=max_length,
        cache_dir=folder,
    )


def documents(made):
    return [made.ids[start:end].tolist() for start, end in zip(made.offsets, made.offsets[1:], strict=False)]


def test_they_are_the_tokenizers_own(split, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "_CHUNK", 3)
    made = tokenize(split, tokenizer, tmp_path)
    assert documents(made) == [
        [2, 4, 5, 6, 3],
        [2, 8, 11, 12, 7, 3],  # cut to six, the special tokens kept
        [2, 1, 3],
        [2, 9, 3],
    ]
    assert documents(made) == tokenizer(list(split.texts), 6)
    assert (len(made), made.lengths.tolist(), made.labels.tolist()) == (4, [5, 6, 3, 3], [0, 1, 0, 1])
    assert (made.ids.dtype, made.offsets.dtype) == (np.int32, np.int64)


def test_they_are_made_once_and_mapped(split, tokenizer, tmp_path, encodings):
    first, second = (tokenize(split, tokenizer, tmp_path) for _ in range(2))
    assert len(encodings) == 1
    assert documents(first) == documents(second)
    for made in (first, second):
        assert isinstance(made.ids, np.memmap)
        assert not made.ids.flags.writeable
    (file,) = (tmp_path / "tokens").iterdir()
    assert file.name.startswith("f00d-train-")


def test_other_texts_tokenizers_and_lengths_are_kept_apart(make_split, tokenizer, tmp_path, encodings):
    other_tokenizer = make_tokenizer(WORDS[::-1])
    settings = [
        (make_split(ROWS), tokenizer, 6),
        (make_split(ROWS[:3]), tokenizer, 6),
        (make_split(ROWS[::-1]), tokenizer, 6),
        (make_split([("the cat satthe", "a"), *ROWS[1:]]), tokenizer, 6),
        (make_split(ROWS), tokenizer, 5),
        (make_split(ROWS), other_tokenizer, 6),
    ]
    for _ in range(2):
        for split, chosen, length in settings:
            made = tokenize(split, chosen, tmp_path, max_length=length)
            assert documents(made) == chosen(list(split.texts), length)
    assert len(encodings) == len(settings)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-4],
        lambda content: content[:-3],
        lambda content: content[:2],
        lambda content: content + b"\0\0\0\0",
        lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
        lambda content: b"\xff" * len(content),
        lambda content: b"\0" * len(content),
    ],
)
def test_a_damaged_cache_is_made_anew(split, tokenizer, tmp_path, encodings, damage):
    expected = documents(tokenize(split, tokenizer, tmp_path))
    (file,) = (tmp_path / "tokens").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert documents(tokenize(split, tokenizer, tmp_path)) == expected
    assert documents(tokenize(split, tokenizer, tmp_path)) == expected
    assert len(encodings) == 2
    assert list((tmp_path / "tokens").iterdir()) == [file]


def test_without_a_writable_cache_they_stay_in_memory(split, tokenizer, tmp_path, caplog):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    made = tokenize(split, tokenizer, blocked)
    assert documents(made)[0] == [2, 4, 5, 6, 3]
    assert not made.ids.flags.writeable
    assert "could not be cached" in caplog.text


def test_a_write_that_fails_leaves_nothing_behind(split, tokenizer, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert len(tokenize(split, tokenizer, tmp_path)) == 4
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 50, 87])
def test_a_full_disk_leaves_no_half_written_tokens(split, tokenizer, tmp_path, caplog, encodings, size):
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        made = tokenize(split, tokenizer, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "tokens").iterdir()) == []
    assert "File too large); free disk space, or set GLOSS_TUNE_CACHE" in caplog.text
    whole = tokenize(split, tokenizer, tmp_path)
    assert documents(made) == documents(whole)
    (file,) = (tmp_path / "tokens").iterdir()
    assert file.stat().st_size > size, "the case needs a limit within the file"
    assert len(encodings) == 2


def race(folder: Path, barrier, results) -> None:
    split = Split(tuple(f"the cat {number}" for number in range(3000)), np.zeros(3000, dtype=np.int64))
    tokenizer = make_tokenizer()
    barrier.wait()
    results.put(documents(tokenize(split, tokenizer, folder)))


def test_processes_may_race(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(tmp_path, barrier, results)) for _ in range(2)]
    for racer in racers:
        racer.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    for racer in racers:
        racer.join(timeout=60)
    assert first == second
    assert len(first) == 3000
    assert len(list((tmp_path / "tokens").iterdir())) == 1
    results.close()
    results.join_thread()
