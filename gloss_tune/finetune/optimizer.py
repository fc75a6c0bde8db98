"""AdamW with warm-up and linear decay over encoder and head."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gloss_tune.finetune.config import FinetuneConfig


def build_optimizer(config: FinetuneConfig, encoder: nn.Module, head: nn.Linear) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) in three groups: encoder weights, encoder biases and norms, head.

    Weight decay pulls matrices only. Each group keeps its peak rate under ``peak`` for :func:`set_rate`.
    """
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    groups = [
        ([p for p in parameters if p.ndim > 1], config.learning_rate, config.weight_decay),
        ([p for p in parameters if p.ndim <= 1], config.learning_rate, 0.0),
    ]
    if config.mode == "integrated":
        groups.append((list(head.parameters()), config.head_learning_rate, 0.0))
    device_type = parameters[0].device.type
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
            for members, rate, decay in groups
        ],
        fused=device_type in ("cpu", "cuda"),
    )


def rate_factor(progress: float, warmup_ratio: float) -> float:
    """Part of the peak rate at a point of the run: rises linearly during warm-up, then falls linearly to 0.

    Args:
        progress: in [0, 1), part of all steps that are done.
        warmup_ratio: in [0, 1).
    """
    if progress < warmup_ratio:
        return progress / warmup_ratio
    return (1.0 - progress) / (1.0 - warmup_ratio)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its peak times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def copied_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A copy of the optimizer's state on the CPU, as its ``load_state_dict`` takes it."""
    state = optimizer.state_dict()
    return {
        "param_groups": state["param_groups"],
        "state": {
            index: {name: value.detach().to("cpu", copy=True) for name, value in moments.items()}
            for index, moments in state["state"].items()
        },
    }
