"""The GPU benchmark on a CPU: in miniature as a whole, and the arithmetic behind its figures."""

from __future__ import annotations

import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, BertConfig, BertModel

from tests.benchmarks import gpu_child
from tests.benchmarks.authors import authors_documents_per_second
from tests.benchmarks.children import children
from tests.benchmarks.gpu import _run, main, measure
from tests.benchmarks.gpu_bench import Bench, NotRunError, Section, Settings
from tests.benchmarks.gpu_child import in_a_child
from tests.benchmarks.gpu_correct import RUNS
from tests.benchmarks.gpu_profile import BACKWARD, BATCH, FORWARD, LOSS, OPTIMIZER, PHASES, _Watch, read_trace
from tests.benchmarks.gpu_sections import SECTIONS
from tests.benchmarks.synthetic import (
    BERT_BASE,
    MR_LIKE,
    NEWSGROUPS_LIKE,
    TINY,
    Shape,
    bert_config,
    synthetic_dataset,
    whole_words,
    write_encoder,
)
from tests.benchmarks.table import Row

# what a machine with torch and sentence-transformers may well lack
ABSENT = (
    "optuna",
    "optuna_dashboard",
    "alembic",
    "sqlalchemy",
    "pooch",
    "platformdirs",
    "matplotlib",
    "tomli_w",
)

# Shaped like the authors' code as far as it is called, with epochs of 4, 1, 2 and 4 seconds for 16 documents.
AUTHORS = {
    "utils": """
def prepare_dataloaders(args, train, val, test):
    assert (args.batch_size, args.max_length) == (8, 128)
    assert set(val.label) == set(train.label)
    return len(train), len(val), len(test), train.label.nunique()

def compute_class_weights(labels):
    return [1.0] * labels.nunique()
""",
    "model": """
import torch

class BertClassifier(torch.nn.Linear):
    def __init__(self, pretrained_model, nb_class):
        super().__init__(3, nb_class)
""",
    "training": """
import os
import matplotlib.pyplot as plt
import optuna

def train_model(args, model, train, val, optimizer, class_weights, num_labels, ckpt_dir, logger, device):
    assert (train, num_labels, len(class_weights), str(device)) == (16, 2, 2, "cpu")
    with open(os.path.join(ckpt_dir, "epoch_stats.csv"), "w") as file:
        print("epoch,train_loss,val_f1,time", file=file)
        for epoch, seconds in zip(range(args.nb_epochs), (4.0, 1.0, 2.0, 4.0), strict=True):
            print(epoch + 1, 0.5, 50.0, seconds, sep=",", file=file)
""",
}


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authors")
    (folder / "Combined with CE").mkdir()
    for name, source in AUTHORS.items():
        (folder / "Combined with CE" / f"{name}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"), TINY)


@pytest.mark.slow
def test_in_miniature_every_section_measures_without_optuna(
    authors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # as the processes that it starts see it; that the floors they use never name Optuna, test_architecture proves
    for package in ABSENT:
        (tmp_path / f"{package}.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    output = tmp_path / "2026-01-01_gpu"
    options = ["--quick", "--device", "cpu", "--authors", str(authors), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr()
    rows = json.loads((output / "rows.json").read_text())
    groups = {row["group"].split(":")[0].split(",")[0] for row in rows}
    assert groups == {
        "what the device computes against a CPU",
        "what packing computes against documents alone",
        "the host's time",
        "the card",
        "our loop on the card",
        "the host's time in a step",
        "the authors' code",
        "trials on one device",
        "experiment",
    }
    assert all(figure > 0 for row in rows for figure in row["raw"])
    by_name = {row["what"].split(",")[0]: row for row in rows}
    assert by_name.keys() >= {*PHASES, "1 process", "2 processes"}
    assert by_name.keys() >= {loss for loss, _ in RUNS}
    assert all(row["ratio"] <= 1 for row in rows if row["peer"] == "limit")
    assert sum(by_name[phase]["ratio"] for phase in PHASES) == pytest.approx(1)
    assert by_name["our loop"]["peer_raw"] == [16, 8, 4]
    readme = (output / "README.md").read_text()
    assert str(tmp_path) not in readme
    notes = [line for line in readme.splitlines() if line.startswith("- ")]
    assert "- the encoder's pass: without padding, in runs of similar length" in notes
    notes.remove("- the encoder's pass: without padding, in runs of similar length")
    assert len(notes) == 5, notes
    assert all("because there is no CUDA device" in note for note in notes)


@pytest.mark.parametrize("settings", [Settings("cuda:0", quick=True), Settings("cpu", quick=False)])
def test_what_this_machine_cannot_measure_is_refused(settings: Settings) -> None:
    if settings.device == "cuda:0" and torch.cuda.is_available():
        pytest.skip("here is a CUDA device")
    with pytest.raises(ValueError, match="--quick"):
        measure(settings)


def test_a_section_that_fails_or_comes_too_late_leaves_a_note(tmp_path: Path) -> None:
    def fails(bench: Bench):
        yield Row("group", "before the fault", "s", [1.0], "peer", [2.0])
        raise RuntimeError("out of luck")

    def late(bench: Bench):
        raise TimeoutError
        yield

    output = tmp_path / "out"
    bench = Bench(Settings("cpu", quick=True, output=output), tmp_path, deadline=float("inf"))
    _run(Section("first", 0, fails), bench)
    assert bench.failed
    assert "before the fault" in (output / "README.md").read_text()
    _run(Section("second", 0, late), bench)
    _run(next(section for section in SECTIONS if section.name == "the authors' loop"), bench)
    bench.deadline = float("-inf")
    _run(Section("third", 0, fails), bench)
    assert bench.notes == [
        "first: failed, RuntimeError: out of luck",
        "second: broken off, because the time was over",
        "the authors' loop: not run, because no copy of their repository was named with --authors",
        "third: not run, because -inf s of the time are left",
    ]
    assert [row.what for row in bench.rows] == ["before the fault"]
    assert "first: failed" in (output / "README.md").read_text()


def test_a_section_runs_in_a_process_of_its_own_and_tells_all(tmp_path: Path) -> None:
    bench = Bench(Settings("cpu", quick=True), tmp_path, deadline=time.monotonic() + 100)
    section = next(section for section in SECTIONS if section.name == "bf16 matrix rate")
    (row,) = in_a_child(section, bench)
    assert row.unit == "TFLOP/s"
    assert [rate / 1e12 for rate in bench.matrix_rates] == pytest.approx(row.raw)
    authors = next(section for section in SECTIONS if section.name == "the authors' loop")
    with pytest.raises(NotRunError, match="--authors"):
        list(in_a_child(authors, bench))


@pytest.mark.parametrize(
    ("ends", "note"),
    [
        ("import os; os.abort()", "RuntimeError: a process ended with -6"),
        (
            "raise RuntimeError('CUDA error: an illegal memory access')",
            "CUDA error: an illegal memory access",
        ),
        ("import time; time.sleep(60)", "broken off, because the time was over"),
    ],
)
def test_a_card_that_dies_or_hangs_costs_one_section_and_its_rows_are_written(
    ends: str, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a section's process that tells one row before its card fails it."""
    package = tmp_path / "path" / "dying.py"
    package.parent.mkdir()
    row = {
        "group": "g",
        "what": "before",
        "unit": "s",
        "raw": [1.0],
        "peer": "p",
        "peer_raw": [2.0],
        "goal": "",
    }
    package.write_text(f"print('@' + {json.dumps(json.dumps({'row': row}))}, flush=True)\n{ends}\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    start = gpu_child.children
    monkeypatch.setattr(
        gpu_child, "children", lambda module, *rest, **options: start("dying", *rest, **options)
    )
    monkeypatch.setattr(gpu_child, "_START_SECONDS", 3.0)
    output = tmp_path / "out"
    bench = Bench(Settings("cpu", quick=True, output=output), tmp_path, deadline=time.monotonic() + 100)
    section = Section("any", 0, lambda bench: iter(()))
    _run(section, bench, partial(in_a_child, section))
    assert [row.what for row in bench.rows] == ["before"]
    (said,) = bench.notes
    assert note in said
    assert "before" in (output / "README.md").read_text()


def test_flops_are_those_that_torch_counts() -> None:
    shape = Shape(layers=2, hidden=128, heads=4, vocabulary=50, positions=256)
    config = bert_config(shape, BertConfig)
    config._attn_implementation = "eager"
    model = BertModel(config, add_pooling_layer=False).train()
    lengths = np.array([200, 30, 30])
    with FlopCounterMode(display=False) as counter:
        for length in lengths:
            model(torch.zeros(1, int(length), dtype=torch.int64)).last_hidden_state.sum().backward()
    # biases and layer norms, which torch does not count, are parameters too
    assert shape.training_flops(lengths) == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert shape.training_flops(lengths) > counter.get_total_flops()


@pytest.mark.parametrize("shape", [TINY, BERT_BASE])
def test_parameters_are_those_of_the_layers(shape: Shape) -> None:
    with torch.device("meta"):
        layers = BertModel(bert_config(shape, BertConfig)).encoder
    assert shape.parameters == sum(parameter.numel() for parameter in layers.parameters())


@pytest.mark.parametrize(("lengths", "mean"), [(MR_LIKE, 27.5), (NEWSGROUPS_LIKE, 310)])
def test_lengths_are_those_of_the_data_sets(lengths, mean: float) -> None:
    drawn = lengths.draw(20_000, np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(mean, rel=0.05)
    assert 3 <= drawn.min() < drawn.max() <= lengths.max_length


def test_texts_have_a_token_for_each_word(encoder: Path) -> None:
    dataset = synthetic_dataset(whole_words(encoder), MR_LIKE, documents=40, val_documents=10)
    tokenizer = AutoTokenizer.from_pretrained(str(encoder))
    ids = tokenizer(list(dataset.train.texts))["input_ids"]
    assert [len(row) for row in ids] == [len(text.split()) + 2 for text in dataset.train.texts]
    assert tokenizer.unk_token_id not in {token for row in ids for token in row}
    assert np.bincount(dataset.train.labels).tolist() == [20, 20]


def test_a_kernel_belongs_to_the_phase_that_launched_it() -> None:
    def mark(phase: str, ts: float, cat: str = "user_annotation") -> dict:
        return {"cat": cat, "name": f"phase: {phase}", "ts": ts, "dur": 0}

    def launch(correlation: int, ts: float) -> dict:
        return {
            "cat": "cuda_runtime",
            "name": "cudaLaunchKernel",
            "ts": ts,
            "args": {"correlation": correlation},
        }

    def kernel(correlation: int, ts: float, dur: float, cat: str = "kernel") -> dict:
        return {"cat": cat, "name": "k", "ts": ts, "dur": dur, "args": {"correlation": correlation}}

    events = [
        {"ph": "M", "name": "process_name"},
        mark("end", 100),
        mark(BATCH, 10),
        mark(FORWARD, 20),
        mark(LOSS, 30),
        mark(BACKWARD, 35),
        mark(OPTIMIZER, 80),
        mark(LOSS, 90, cat="gpu_user_annotation"),
        *(launch(*at) for at in [(1, 5), (2, 12), (3, 21), (4, 29), (5, 36), (6, 101)]),
        kernel(1, 6, 9),  # launched before the first mark
        kernel(2, 40, 10, cat="gpu_memcpy"),  # runs long after its phase
        kernel(3, 45, 10),  # overlaps the one before by five
        kernel(4, 60, 5),
        kernel(5, 90, 20),  # runs beyond the end
        kernel(6, 120, 50),  # launched after the end
        {"cat": "cuda_runtime", "name": "cudaStreamSynchronize", "ts": 85, "args": {"correlation": 7}},
        {"cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "ts": 100, "args": {"correlation": 8}},
    ]
    trace = read_trace(events)
    assert trace.host == pytest.approx(
        {BATCH: 10e-6, FORWARD: 10e-6, LOSS: 5e-6, BACKWARD: 45e-6, OPTIMIZER: 20e-6}
    )
    assert trace.device == pytest.approx({BATCH: 10e-6, FORWARD: 15e-6, BACKWARD: 20e-6})
    assert trace.busy == pytest.approx(40e-6)
    assert (trace.kernels, trace.waits) == (4, 1)


def test_waits_are_counted_between_the_first_and_the_last_step_of_one_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a CUDA device, with that device's part of torch replaced."""
    modes = ["default"]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    watch = _Watch(steps=4, traced_steps=2, on_cuda=True)

    def wait() -> None:
        if modes[-1] == "warn":
            warnings.warn("called a synchronizing CUDA operation (Triggered internally …)", stacklevel=1)
            warnings.warn("something else", stacklevel=1)

    with watch.recording():
        for _ in range(4):
            for _ in range(4 + 2):  # as many steps, and two batches of an evaluation
                wait()
                watch.on_step()
            watch.next_epoch()
    assert sum(watch.places.values()) == 3
    assert all(place.startswith("test_gpu_benchmark.py:") for place in watch.places)
    assert modes[-1] == "default"
    assert watch.trace is not None
    assert watch.trace.host.keys() == {BATCH}


def test_too_few_texts_or_no_code_of_the_authors_is_refused(authors: Path, encoder: Path) -> None:
    for folder, count, message in [(authors, 15, "16 texts"), (encoder, 16, "training.py")]:
        with pytest.raises(ValueError, match=message):
            authors_documents_per_second(
                folder,
                ["text"] * count,
                [0, 1] * 8,
                2,
                encoder,
                batch_size=8,
                max_length=128,
                steps=2,
                device="cpu",
            )


def test_a_process_that_fails_or_hangs_is_told_by_its_last_words_or_by_the_clock(tmp_path: Path) -> None:
    with (
        children("json.tool", tmp_path / "missing.json", tmp_path, seconds=60) as (child,),
        pytest.raises(RuntimeError, match=r"missing\.json"),
    ):
        list(child.replies())
    with (
        children("json.tool", Path("-"), tmp_path, count=2, seconds=0.5) as processes,
        pytest.raises(TimeoutError, match="the time was over"),
    ):
        processes[1].listen()  # it waits for its stdin
    assert all(child.process.returncode == -9 for child in processes)
