"""G-Loss (Sharma, Agarwal & Kumar 2026, arXiv 2604.25853): the function, and a sentence-transformers loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gloss_tune.losses.graph import (
    check_embeddings,
    check_normalization,
    check_temperature,
    full_precision,
    log_similarity,
    log_transition,
)
from gloss_tune.losses.label_propagation import (
    check_class_weights,
    check_iterations,
    check_num_classes,
    check_range,
    check_shapes,
    one_hot,
    propagate,
    visible_first,
)
from gloss_tune.losses.masking import check_mask_ratio, random_mask


def gloss_loss(
    embeddings: Tensor,
    labels: Tensor,
    masked: Tensor,
    num_classes: int,
    *,
    temperature: float = 0.1,
    iterations: int | None = 10,
    normalization: str = "random_walk",
    class_weights: Tensor | None = None,
) -> Tensor:
    """How badly the hidden labels follow from the visible ones over the graph of the batch.

        G-Loss = - mean over masked documents i of log F_u[i, label of i]

    where F_u is propagate_labels(P, labels, masked, num_classes, iterations), P is transition_matrix(W,
    normalization) and W is similarity_graph(embeddings, temperature). The mathematics is that of these three
    functions, but from log W on and in float64, whatever autocast or torch's matmul precision is set to: no
    weight underflows at τ = 0.01. Cost: O(B² D + K M² C), a few milliseconds at B = 128.

    A masked document whose class has no visible document in the batch cannot be told right and is left out of
    the mean (``random_mask`` makes such documents rare). If no document is left, the loss is a zero with a
    zero gradient.

    Waits once for the device if ``masked`` lives on one (for the number of masked documents), and never if
    ``masked`` lives on the CPU, as that of ``random_mask`` does.

    Args:
        embeddings: (B, D), not necessarily normalised.
        labels: (B,), int64, in [0, num_classes); on any device.
        masked: (B,), bool, True where the label is hidden; on any device.
        num_classes: C ≥ 2.
        temperature: similarity temperature τ = σ² > 0.
        iterations: steps K ≥ 1 of label propagation, or ``None`` for the closed form.
        normalization: one of :data:`NORMALIZATIONS`; see :func:`transition_matrix`.
        class_weights: (C,), above 0, what a masked document of each class counts for: the mean is then
            Σ w_i (…)_i / Σ w_i, as torch's ``cross_entropy`` takes it; ``None`` for 1 each.

    Returns:
        Scalar, at least 0; float64 for float64 embeddings, else float32.

    Raises:
        ValueError: if a shape does not fit or a parameter is out of its range.
    """
    check_embeddings(embeddings)
    check_shapes(labels, masked, batch=embeddings.shape[0])
    check_num_classes(num_classes)
    check_range(labels, num_classes)
    check_class_weights(class_weights, num_classes)
    check_temperature(temperature)
    check_iterations(iterations)
    check_normalization(normalization)
    device = embeddings.device
    result_dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    order, visible = visible_first(masked)
    if visible in (0, masked.shape[0]):
        return zero_loss(embeddings)

    order = order.to(device, non_blocking=True)
    labels = labels.to(device, non_blocking=True)[order]
    with full_precision(device):
        # from here on, visible documents come first, so that the blocks of P are slices
        X = embeddings.to(_graph_dtype(device)).index_select(0, order)
        P_u = log_transition(log_similarity(X, temperature), normalization)[visible:].exp()  # (M, B)
        Y_l = one_hot(labels[:visible], num_classes, X.dtype)
        F_u = propagate(P_u[:, :visible], P_u[:, visible:], Y_l, iterations)

        labels_u = labels[visible:]  # (M,)
        probability = F_u.gather(1, labels_u[:, None]).squeeze(1)  # (M, C) → (M,)
        # below the smallest normal number (τ under about 0.003) a logarithm would be -inf
        surprise = -probability.clamp_min(torch.finfo(X.dtype).tiny).log()
        learnable = (Y_l.sum(dim=0) > 0)[labels_u]
        counts = learnable.to(X.dtype)
        if class_weights is not None:
            counts = counts * class_weights.to(X)[labels_u]
        weighted = torch.where(learnable, surprise * counts, 0.0)
        loss = weighted.sum() / counts.sum().clamp_min(torch.finfo(X.dtype).tiny)
    return loss.to(result_dtype)


class GLoss(nn.Module):
    """G-Loss as a loss of sentence-transformers, for its ``SentenceTransformerTrainer``.

    Needs a data set with one text column and a column of class numbers, and batches with several documents of
    each class (shuffled batches of 64 or more, or ``BatchSamplers.GROUP_BY_LABEL``). Masks are drawn anew for
    each training batch. In evaluation (``model.eval()``) the mask is a function of the batch and the seed
    alone, so evaluation losses can be compared with each other and do not change the training that follows.

    Args:
        model: the ``SentenceTransformer``, or any module that adds ``sentence_embedding`` (B, D) to its
            features.
        num_classes: C ≥ 2; labels are in [0, num_classes).
        mask_ratio: part of a batch whose labels are hidden, in (0, 1).
        iterations: steps K ≥ 1 of label propagation, or ``None`` for the closed form.
        temperature: similarity temperature τ = σ² > 0.
        normalization: one of :data:`NORMALIZATIONS`.
        seed: decides the masks.
        class_weights: C numbers above 0, what a masked document of each class counts for, see :func:`gloss_loss`;
            ``None`` for 1 each.

    Raises:
        ValueError: if a parameter is out of its range.

    Example:
        ::

            model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")
            data = Dataset.from_dict({"text": ["…", "…"], "label": [0, 1]})
            loss = GLoss(model, num_classes=2, mask_ratio=0.5, iterations=10, temperature=0.1)
            SentenceTransformerTrainer(model=model, train_dataset=data, loss=loss).train()
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        mask_ratio: float = 0.5,
        iterations: int | None = 10,
        temperature: float = 0.1,
        normalization: str = "random_walk",
        seed: int = 0,
        class_weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_mask_ratio(mask_ratio)
        check_iterations(iterations)
        check_temperature(temperature)
        check_normalization(normalization)
        self.model = model
        self.num_classes = num_classes
        self.mask_ratio = mask_ratio
        self.iterations = iterations
        self.temperature = temperature
        self.normalization = normalization
        self.seed = seed
        self.class_weights: Tensor | None
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        check_class_weights(weights, num_classes)
        if weights is not None and not (weights.isfinite() & (weights > 0)).all():
            raise ValueError(f"class_weights: must be finite and above 0, got {weights.tolist()}")
        # moves with the module, and stays out of its state, as all other parameters of the loss do
        self.register_buffer("class_weights", weights, persistent=False)
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of one batch.

        Args:
            sentence_features: tokenised text, one entry: there is one text column.
            labels: (B,) or (B, 1), class numbers.

        Returns:
            Scalar, float32.

        Raises:
            ValueError: if there are several text columns or no labels.
        """
        columns = list(sentence_features)
        if len(columns) != 1:
            raise ValueError(
                f"GLoss needs one text column, got {len(columns)}; keep the texts to classify in one column, "
                "the class numbers in a column named 'label', and drop the others"
            )
        embeddings: Tensor = self.model(columns[0])["sentence_embedding"]
        return self.compute_loss_from_embeddings([embeddings], labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """The same from embeddings, one (B, D) in the list; see :meth:`forward`."""
        if labels is None:
            raise ValueError("GLoss needs class numbers, got no labels; add a column named 'label'")
        # one copy for both the mask and the check of the range: the only wait for the device
        labels = labels.reshape(-1).long().cpu()
        training = self.model.training
        generator = self._generator if training else torch.Generator().manual_seed(self.seed)
        masked = random_mask(labels, self.mask_ratio, generator)
        return gloss_loss(
            embeddings[0],
            labels,
            masked,
            self.num_classes,
            temperature=self.temperature,
            iterations=self.iterations,
            normalization=self.normalization,
            class_weights=self.class_weights,
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The parameters, for the model card that sentence-transformers writes."""
        return {
            "num_classes": self.num_classes,
            "mask_ratio": self.mask_ratio,
            "iterations": self.iterations,
            "temperature": self.temperature,
            "normalization": self.normalization,
            "seed": self.seed,
            "class_weights": None if self.class_weights is None else self.class_weights.tolist(),
        }

    @property
    def citation(self) -> str:
        """BibTeX, for the model card that sentence-transformers writes."""
        return """
@misc{sharma2026gloss,
    title={G-Loss: Graph-Guided Fine-Tuning of Language Models},
    author={Aditya Sharma and Vinti Agarwal and Rajesh Kumar},
    year={2026},
    eprint={2604.25853},
    archivePrefix={arXiv},
    primaryClass={cs.CL}
}
"""


def zero_loss(embeddings: Tensor) -> Tensor:
    """A scalar zero with a zero gradient for backward(); NaN if an embedding is not finite."""
    result_dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    return (embeddings * 0.0).sum(dtype=result_dtype)


def _graph_dtype(device: torch.device) -> torch.dtype:
    # Apple's GPUs have no float64; there weights below 1e-38 are lost, which shows below τ of about 0.02
    return torch.float32 if device.type == "mps" else torch.float64
