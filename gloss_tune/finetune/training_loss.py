"""What a step minimises: the loss on embeddings and the head's cross-entropy, weighted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.embedding import head_input
from gloss_tune.losses import build_loss


class TrainingLoss:
    """The loss of one batch as a function of its embeddings.

    Args:
        config: validated.
        num_classes: C ≥ 2.
        head: (D → C); used in integrated mode.
        class_weights: (C,), what a document of each class counts for; ``None`` for 1 each.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        num_classes: int,
        head: nn.Linear,
        class_weights: Tensor | None = None,
    ) -> None:
        self._head = head
        self._name = config.loss
        self._integrated = config.mode == "integrated"
        self._loss = build_loss(
            config.loss,
            num_classes=num_classes,
            mask_ratio=config.mask_ratio,
            iterations=None if config.propagation == "closed_form" else config.lpa_iterations,
            temperature=config.temperature,
            normalization=config.normalization,
            margin=config.margin,
            class_weights=class_weights,
        )
        self._class_weights = class_weights
        self._weight = 0.0
        if self._loss is not None:
            self._weight = config.gloss_weight if self._integrated else 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, ``loss`` first."""
        names = ["loss"]
        if self._loss is not None:
            names.append(self._name)
        if self._integrated:
            names.append("ce")
        return tuple(names)

    def __call__(self, embeddings: Tensor, labels: Tensor, masks: torch.Generator) -> dict[str, Tensor]:
        """The loss and its parts, scalars, by name.

        Args:
            embeddings: (B, D), not normalised.
            labels: (B,), int64, on the CPU: there the mask is drawn without a wait for the device.
            masks: CPU generator.
        """
        parts: dict[str, Tensor] = {}
        if self._loss is not None:
            parts[self._name] = self._loss(embeddings, labels, masks)
        if self._integrated:
            logits = self._head(head_input(embeddings))  # (B, D) → (B, C)
            parts["ce"] = F.cross_entropy(
                logits, labels.to(logits.device, non_blocking=True), self._class_weights
            )
        loss = sum(
            (part * (1.0 - self._weight if name == "ce" else self._weight) for name, part in parts.items()),
            start=torch.zeros((), device=embeddings.device),
        )
        return {"loss": loss, **parts}
