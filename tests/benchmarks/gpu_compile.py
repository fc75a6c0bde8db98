"""What torch.compile and CUDA graphs would save in a step of a MiniLM-sized transformer: an experiment, no claim.

A step here is: forward in bfloat16 autocast, mean over tokens, a sum of squares as the loss, backward, AdamW. Each
batch is a rectangle of documents of one length, so nothing is padded and no attention mask needed. ``varied`` batches
have another length each, as they occur; ``fixed`` ones have one length, as a CUDA graph needs.

The module runs as a process of its own, which tells each variant's figures as soon as it has them: a failed capture can
leave a device unusable for its process, and a compilation takes as long as it takes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.children import children, reply
from tests.benchmarks.synthetic import MINILM, MR_LIKE, TINY, bert_config

EAGER, COMPILED = "eager, varied lengths", "compiled (dynamic shapes), varied lengths"
EAGER_FIXED, GRAPH, COMPILED_GRAPH = (
    "eager, fixed length",
    "a CUDA graph of the step, fixed length",
    "compiled, in a CUDA graph, fixed length",
)
#: each variant and the one that it is compared with
VARIANTS = {
    EAGER: EAGER,
    COMPILED: EAGER,
    EAGER_FIXED: EAGER_FIXED,
    GRAPH: EAGER_FIXED,
    COMPILED_GRAPH: EAGER_FIXED,
}


@dataclass(frozen=True)
class Variant:
    """One way to run the step.

    Args:
        name: one of :data:`VARIANTS`.
        warmup: seconds until every batch's length has been seen once: kernels, compilation, capture.
        seconds: of a step, one figure a pass over all batches; empty where it failed.
        error: why it failed.
    """

    name: str
    warmup: float
    seconds: Sequence[float]
    error: str = ""


def compare_variants(device: str, quick: bool, folder: Path, seconds: float) -> Iterator[Variant]:
    """Variants as they are measured: all of them on CUDA, those without a graph on a CPU.

    Args:
        device: ``cpu``, ``cuda:0``, ….
        quick: a tiny encoder, compiled without code generation.
        folder: for files that are needed meanwhile.
        seconds: after which the rest is given up.

    Raises:
        RuntimeError: the process has failed as a whole.
        TimeoutError: the time was over.
    """
    job = folder / "compile-job.json"
    job.write_text(json.dumps({"device": device, "quick": quick}), encoding="utf-8")
    with children(
        "tests.benchmarks.gpu_compile", job, folder, seconds=seconds, threads=1 if quick else 8
    ) as (child,):
        for line in child.replies():
            yield Variant(**json.loads(line))


def _work(device_name: str, quick: bool) -> None:
    import numpy as np
    import torch
    from transformers import BertConfig, BertModel

    device = torch.device(device_name)
    shape, documents, count, passes = (TINY, 4, 3, 2) if quick else (MINILM, 128, 24, 5)
    lengths = MR_LIKE.draw(count, np.random.default_rng(0))
    fixed = 32

    def rectangle(length: int) -> torch.Tensor:
        return torch.randint(5, shape.vocabulary, (documents, length), device=device)

    varied = [rectangle(int(length)) for length in lengths]
    same = [rectangle(fixed) for _ in range(count)]
    torch.manual_seed(0)
    model = BertModel(bert_config(shape, BertConfig), add_pooling_layer=False).to(device).train()
    compiled = torch.compile(model, dynamic=True, backend="eager" if quick else "inductor")
    on_cuda = device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=on_cuda, capturable=on_cuda)

    def step(network: Callable[..., Any], ids: torch.Tensor) -> None:
        # without its cache of cast weights, which a graph must not keep and one pass does not need
        with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
            states = network(input_ids=ids).last_hidden_state
        states.float().mean(1).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def graphed(network: Callable[..., Any]) -> Callable[[torch.Tensor], None]:
        """The step on a fixed buffer, captured as torch's documentation says, and a copy into that buffer."""
        ids = same[0].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(network, ids)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(network, ids)

        def replay(batch: torch.Tensor) -> None:
            ids.copy_(batch)
            graph.replay()

        return replay

    def measure(
        name: str, prepare: Callable[[], Callable[[torch.Tensor], None]], batches: list[torch.Tensor]
    ) -> None:
        def seconds() -> float:
            start = time.perf_counter()
            for batch in batches:
                run(batch)
            if on_cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - start

        start = time.perf_counter()
        try:
            run = prepare()
            seconds()
            warmup = time.perf_counter() - start
            variant = Variant(name, warmup, [seconds() / len(batches) for _ in range(passes)])
        # whatever it is, the other variants may still work
        except Exception as error:
            message = (str(error) or "no message").strip().splitlines()[0]
            variant = Variant(name, time.perf_counter() - start, [], f"{type(error).__name__}: {message}")
            optimizer.zero_grad(set_to_none=True)
        reply(json.dumps(vars(variant)))

    measure(EAGER, lambda: lambda ids: step(model, ids), varied)
    measure(COMPILED, lambda: lambda ids: step(compiled, ids), varied)
    measure(EAGER_FIXED, lambda: lambda ids: step(model, ids), same)
    if on_cuda:
        measure(GRAPH, lambda: graphed(model), same)
        measure(COMPILED_GRAPH, lambda: graphed(compiled), same)


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _work(content["device"], content["quick"])
