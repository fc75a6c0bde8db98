"""A CPU whose memory really ends: torch's own errors under a limit of the operating system."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gloss_tune.finetune.config import TIMING_METRICS
from tests.unit.finetune.tiny import write_encoder

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, logging, re, resource, sys
from pathlib import Path
import numpy as np
import torch
from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.loop import Finetune

torch.set_num_threads(1)
encoder = Encoder.load(resolve_encoder(sys.argv[1]), max_length=64)
rng = np.random.default_rng(0)

def documents(count):
    ids = rng.integers(5, 41, size=count * 64).astype(np.int32)
    return TokenizedSplit(ids, np.arange(count + 1) * 64, np.arange(count) % 3)

def run(batch_size, train, val):
    config = FinetuneConfig(
        epochs=1, batch_size=batch_size, max_length=64, precision="float32", temperature=0.3
    )
    (report,) = Finetune(config, train, val, 3, encoder).epochs()
    return report.metrics

def limit_memory(mebibytes):
    unlimited = resource.RLIM_INFINITY
    if mebibytes is None:
        resource.setrlimit(resource.RLIMIT_AS, (unlimited, unlimited))
    else:
        now = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20, unlimited))

train, val = documents(192), documents(64)
run(16, documents(32), val)  # libraries and thread pools are now in memory
records = []
logging.getLogger("gloss_tune").addHandler(logging.NullHandler())
logging.getLogger("gloss_tune").addFilter(lambda record: records.append(record.getMessage()) or True)
limit_memory(150)
limited = run(192, train, val)
limit_memory(None)
heard = list(records)
unlimited = run(192, train, val)
assert records == heard, records
print(json.dumps({"limited": limited, "unlimited": unlimited, "warnings": heard}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_a_run_that_does_not_fit_ends_with_the_values_of_one_that_does(tmp_path: Path) -> None:
    folder = write_encoder(
        tmp_path,
        hidden_size=96,
        intermediate_size=384,
        num_attention_heads=4,
        num_hidden_layers=3,
        max_position_embeddings=64,
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (warning,) = result["warnings"]
    assert "can't allocate memory" in warning
    assert "batch_size 192 and max_length 64" in warning
    lasting = result["unlimited"].keys() - TIMING_METRICS
    assert {name: result["limited"][name] for name in lasting} == pytest.approx(
        {name: result["unlimited"][name] for name in lasting}, rel=1e-4, abs=1e-5
    )
