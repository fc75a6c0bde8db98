"""A card that is not there: tensors on ``cuda:0`` with shape, type and device, but without data.

What touches such a tensor goes to torch's own rules of shapes, which refuse mixed devices and shapes that depend on
data; what does not is computed as ever. Each place where a real card would have to be waited for is written down.

torch sends even fake tensors of a card to its C++ side in three places, for which there are stand-ins: a guard that
switches devices, the engine of ``backward`` with its streams, and a few functions of ``torch.cuda``.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOPPER, TURING = (9, 0), (7, 5)

_aten = torch.ops.aten
_OURS = "/gloss_tune/"
_INDEXING = (
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::index_select",
    "aten::_index_put_impl_",
)


class _Shapes(FakeTensorMode):
    """torch's rules of shapes, without a look at whether there is a card."""

    avoid_device_init = True


class Card(TorchDispatchMode):
    """Computes with shapes where a tensor is on the card.

    Attributes:
        waits: where the host would wait, and how often.
        calls: of each operation on the card.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._shapes = _Shapes(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_made_of_others(func):  # as in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        from_card = any(is_on_card(tensor) for tensor in tensors)
        target = torch.device(kwargs["device"]).type if kwargs.get("device") else None
        if not from_card and target != "cuda":
            return func(*args, **kwargs)
        if from_card and func is _aten._local_scalar_dense.default:
            self._wait("a number is read")
            return 0
        if func is _aten._to_copy.default:
            if from_card and target == "cpu":
                self._wait("a tensor is read")
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            if not from_card and not kwargs.get("non_blocking"):
                self._wait("a tensor is sent")
        if func.name().partition(".")[0] in _INDEXING and not all(map(is_on_card, tensors)):
            self._wait("an index is sent")
        self.calls[func.name().partition(".")[0]] += 1
        if func is _aten._efficient_attention_backward.default:  # torch's rule for it lacks an argument
            return *(torch.empty_like(tensor) for tensor in args[1:4]), None
        with self._shapes:
            return func(*args, **kwargs)

    def _wait(self, what: str) -> None:
        frame = sys._getframe()
        while frame is not None and _OURS not in frame.f_code.co_filename:
            frame = frame.f_back  # type: ignore[assignment]
        at = "" if frame is None else f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self.waits[what + at] += 1


def is_on_card(tensor: Tensor) -> bool:
    """Whether a tensor is on the card that is not there."""
    return isinstance(tensor, FakeTensor) and tensor.fake_device.type == "cuda"


@contextmanager
def pretended_card(capability: tuple[int, int]) -> Iterator[Card]:
    """Until the block ends, ``cuda:0`` is there.

    Args:
        capability: the card's, such as :data:`HOPPER`.
    """
    _let_devices_be_switched()
    functions: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: "a card that is not there",
        "mem_get_info": lambda device=None: (70 * 2**30, 80 * 2**30),
        "max_memory_allocated": lambda device=None: 0,
        "max_memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "memory_reserved": lambda device=None: 0,
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "is_current_stream_capturing": lambda: False,
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        **dict.fromkeys(
            ["_lazy_init", "manual_seed_all", "set_rng_state", "reset_peak_memory_stats", "empty_cache"],
            lambda *_, **__: None,
        ),
    }
    by_torch = Tensor.backward

    def backward(root: Tensor, gradient: Tensor | None = None, **options: Any) -> None:
        (walk_back if is_on_card(root) else by_torch)(root, gradient, **options)

    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(Tensor, "backward", backward))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", lambda tensor: tensor))
        stack.enter_context(mock.patch.object(fake_tensor, "init_gpu_context", return_value=None))
        # as parameters of a card, they are counted, clipped and updated all at once
        _foreach_utils._foreach_supported_types.append(FakeTensor)
        stack.callback(_foreach_utils._foreach_supported_types.remove, FakeTensor)
        yield stack.enter_context(Card())


@torch.no_grad()
def walk_back(root: Tensor, gradient: Tensor | None = None) -> None:
    """Gradients of all leaves, node by node: each when all that follows from it is done."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(root.grad_fn, False)]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((below, False) for below, _ in node.next_functions)
    arrived: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    arrived[root.grad_fn][root.output_nr] = torch.ones_like(root) if gradient is None else gradient
    for node in reversed(order):
        inputs = arrived.pop(node, {})
        if not inputs:
            continue
        if hasattr(node, "variable"):
            leaf, found = node.variable, inputs[0]
            assert (found.device, found.shape) == (leaf.device, leaf.shape)
            leaf.grad = found if leaf.grad is None else leaf.grad.add_(found)
            continue
        outputs = node(*(inputs.get(place) for place in range(len(node._input_metadata))))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for (below, place), output in zip(node.next_functions, outputs, strict=False):
            if below is None or output is None:
                continue
            wanted = below._input_metadata[place]
            output = output.sum_to_size(wanted.shape).to(wanted.dtype)
            others = arrived[below]
            others[place] = others[place] + output if place in others else output


def _is_made_of_others(func: Any) -> bool:
    return func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )


def _let_devices_be_switched() -> None:
    """By torch's guard that does nothing; a build without CUDA must first believe that it has one, of no devices."""
    libraries = Path(torch.__file__).parent / "lib"
    c10 = ctypes.CDLL(str(next(libraries.glob("libc10.*"))))
    guards = (ctypes.c_void_p * 2).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    if not guards[1]:
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
        methods = (ctypes.c_void_p * 64)(*[ctypes.cast(answer, ctypes.c_void_p).value] * 64)
        guard = ctypes.c_void_p(ctypes.addressof(methods))
        _KEPT.extend((answer, methods, guard))
        guards[1] = ctypes.addressof(guard)
    torch._C._ensureCUDADeviceGuardSet()


_KEPT: list[Any] = []
