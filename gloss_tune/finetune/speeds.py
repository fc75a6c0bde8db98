"""How fast this machine multiplies an encoder's matrices in each precision: timed once, then read from the cache.

A processor's flags do not tell. One with avx512_bf16 and without AMX was measured at 130 GFLOP/s a thread in float32
and at 80 in bfloat16; with AMX, bfloat16 is several times as fast as float32.

float16 is timed beside them and told, but nothing trains in it on a CPU: where it was fastest, with avx512_fp16 and
without AMX, its products were 124 to 149 GFLOP/s a thread against float32's 123 to 130, which the scaling of the loss
that its range asks for uses up; with AMX they were slower than float32's (77 against 106).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gloss_tune.data.cache import cache_dir, write_atomically
from gloss_tune.finetune.device import processor_name
from gloss_tune.finetune.threads import InTurn, Runner, runner_of
from gloss_tune.idle import Counters, cores_left, read_counters
from gloss_tune.logging import logger

if TYPE_CHECKING:
    from gloss_tune.encoder import Encoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_FORMAT = 1
# shapes that differ are few; the largest decide
_MOST_SHAPES = 4
_FEW_TOKENS, _MOST_TOKENS = 32, 2048
# of one turn in one precision and one thread: about a tenth of a second
_FLOPS_A_TURN = 6e9
_TURNS = 4
# by a first look at few tokens, and by each turn: a precision so much slower than the best is not timed any further
_HOPELESS, _BEATEN = 5.0, 1.6
# a machine that others use gives other figures each time
_ROUNDS_IF_BUSY = 2
_STRANGERS = 0.5
_ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
)

#: (out, in) of a linear layer → how many of it an encoder has
Shapes = Mapping[tuple[int, int], int]

_known: dict[str, dict[str, float]] = {}


def product_speeds(encoder: Encoder) -> dict[str, float]:
    """GFLOP/s of an encoder's matrix products, forward and backward, in each precision that this build of torch knows.

    Timed with as many threads, and as many chunks side by side, as training has them now. The figures are kept in the
    cache for this kind of machine, torch, threads and widths; those from a machine that others kept busy are not.

    Args:
        encoder: on the CPU.
    """
    shapes = linear_shapes(encoder.model)
    threads = torch.get_num_threads()
    runner = runner_of(threads) if encoder.concurrent else InTurn()
    facts = _facts(shapes, threads, runner.count)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    if key in _known:
        return _known[key]
    path = cache_dir() / "speeds" / f"{key}.json"
    found = _read(path)
    if found is None:
        found, quiet = measure(shapes, runner, threads)
        if quiet:
            _keep(path, {**facts, "speeds": found})
    _known[key] = found
    return found


def linear_shapes(model: nn.Module) -> dict[tuple[int, int], int]:
    """The shapes that most of an encoder's multiplications have."""
    shapes = Counter(tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear))
    heaviest = sorted(shapes, key=lambda shape: (-shape[0] * shape[1] * shapes[shape], shape))
    return {(shape[0], shape[1]): shapes[shape] for shape in heaviest[:_MOST_SHAPES]} or {(384, 384): 1}


def measure(shapes: Shapes, runner: Runner, threads: int) -> tuple[dict[str, float], bool]:
    """GFLOP/s by precision, and whether the machine was quiet enough for them to be kept.

    The precisions take turns, and of each the fastest turn counts: what disturbs one of them for a moment does not
    decide.

    Args:
        shapes: see :func:`linear_shapes`.
        runner: of chunks.
        threads: of torch, for all chunks at once.
    """
    best: dict[str, dict[tuple[int, int], float]] = {}
    names = _promising(shapes, runner)
    flops = sum(_flops(shape, 1) for shape in shapes)
    tokens = min(_MOST_TOKENS, max(128, int(_FLOPS_A_TURN / flops) // 32 * 32))
    quiet = False
    for _ in range(_ROUNDS_IF_BUSY):
        before = read_counters(())
        for turn in range(_TURNS + 1):
            alive = _alive(best, names, shapes) if turn > 1 else names
            for name in alive:
                for shape in shapes:
                    took = _seconds(name, shape, tokens, runner)
                    if turn:  # the first is there to warm up
                        fastest = best.setdefault(name, {})
                        fastest[shape] = min(took, fastest.get(shape, took))
        quiet = _was_quiet(before, threads)
        if quiet:
            break
    speeds = {}
    for name in best:
        seconds = sum(best[name][shape] * number for shape, number in shapes.items())
        work = sum(_flops(shape, tokens) * number for shape, number in shapes.items()) * runner.count
        speeds[name] = round(work / seconds / 1e9, 1)
    return speeds, quiet


def _promising(shapes: Shapes, runner: Runner) -> list[str]:
    """The precisions that this build knows and does not merely imitate, number by number."""
    smallest = min(shapes, key=lambda shape: shape[0] * shape[1])
    first: dict[str, float] = {}
    for name in DTYPES:
        try:
            first[name] = min(_seconds(name, smallest, _FEW_TOKENS, runner) for _ in range(2))
        except (RuntimeError, TypeError) as error:
            logger.debug("This torch does not multiply in %s: %s", name, error)
    return [name for name, took in first.items() if took <= _HOPELESS * min(first.values())]


def _alive(
    best: Mapping[str, Mapping[tuple[int, int], float]], names: Sequence[str], shapes: Shapes
) -> list[str]:
    totals = {name: sum(best[name][shape] * number for shape, number in shapes.items()) for name in names}
    return [name for name in names if totals[name] <= _BEATEN * min(totals.values())]


def _seconds(name: str, shape: tuple[int, int], tokens: int, runner: Runner) -> float:
    """A linear layer forward and backward, as autocast has it computed, in as many chunks at once as training has."""
    width_out, width_in = shape
    dtype = DTYPES[name]
    inputs = [torch.ones(tokens, width_in, dtype=dtype).requires_grad_() for _ in range(runner.count)]
    weight, bias = nn.Parameter(torch.full((width_out, width_in), 1e-3)), nn.Parameter(torch.zeros(width_out))
    of_output = torch.full((tokens, width_out), 1e-3, dtype=dtype)

    def both_ways(states: Tensor) -> None:
        output = F.linear(states, weight, bias)
        with torch.autocast("cpu", enabled=False):
            torch.autograd.grad(output, (states, weight, bias), of_output)

    with torch.enable_grad(), torch.autocast("cpu", dtype=_low(dtype), enabled=dtype != torch.float32):
        start = time.perf_counter()
        runner.run([partial(both_ways, states) for states in inputs])
        return time.perf_counter() - start


def _low(dtype: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if dtype == torch.float32 else dtype


def _flops(shape: tuple[int, int], tokens: int) -> float:
    return 6.0 * shape[0] * shape[1] * tokens


def _was_quiet(before: Counters, threads: int) -> bool:
    return cores_left(before, read_counters(())) >= threads - _STRANGERS


def _facts(shapes: Shapes, threads: int, chunks: int) -> dict[str, Any]:
    """All that decides the figures; no name of a machine, so that equal ones share a cache."""
    return {
        "format": _FORMAT,
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": threads,
        "chunks": chunks,
        "shapes": sorted([*shape, number] for shape, number in shapes.items()),
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }


def _read(path: Path) -> dict[str, float] | None:
    try:
        stored = json.loads(path.read_bytes())["speeds"]
        found = {name: float(stored[name]) for name in DTYPES if name in stored}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not there, or damaged: measured again, and replaced
    return found if found and min(found.values()) > 0 else None


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    try:
        write_atomically(path, json.dumps(content, indent=1).encode())
    except OSError as error:  # measured again by the next one, which costs a second
        logger.debug("The speeds could not be kept: %s", error)
