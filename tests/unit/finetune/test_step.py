"""The chunked step's gradient against the plain step's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import chunks
from gloss_tune.finetune.config import LOSSES, MODES, FinetuneConfig
from gloss_tune.finetune.embedding import embed_chunk
from gloss_tune.finetune.precision import autocast
from gloss_tune.finetune.step import chunked_step, plain_step
from gloss_tune.finetune.training_loss import TrainingLoss
from tests.unit.finetune.tiny import documents

TOKENS = documents(60, classes=3, seed=1)
BATCH = np.argsort(-TOKENS.lengths, kind="stable")[::2]  # 30 documents, longest first
CPU = torch.device("cpu")
LOSSES_AND_MODES = [(loss, mode) for loss in LOSSES for mode in MODES if (loss, mode) != ("ce", "standalone")]


class Step:
    """One step of either kind on the tiny encoder, from the same random states."""

    def __init__(
        self, encoder: Encoder, loss: str = "gloss", mode: str = "integrated", precision: str = "float32"
    ) -> None:
        self.encoder = encoder
        encoder.reset()
        self.head = nn.Linear(encoder.dimension, 3)
        with torch.no_grad():  # a head of zeros would hide the encoder's gradient of the cross-entropy
            for number, parameter in enumerate(self.head.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
        config = FinetuneConfig(loss=loss, mode=mode, temperature=0.3)
        self.loss = TrainingLoss(config, 3, self.head)
        self.context = autocast(precision, CPU)

    def __call__(
        self, kind: str, chunk_tokens: int, dropout: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole gradient as one vector, and the loss's parts."""
        self.encoder.model.train(dropout)
        masks = torch.Generator().manual_seed(2)
        lengths = TOKENS.lengths[BATCH]
        cut = [BATCH[chunk] for chunk in chunks(lengths, chunk_tokens)]
        labels = torch.from_numpy(TOKENS.labels[BATCH])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            arguments = (
                lambda part: embed_chunk(self.encoder, TOKENS, part),
                cut,
                lambda embeddings: self.loss(embeddings, labels, masks),
                self.context,
            )
            parts = plain_step(*arguments) if kind == "plain" else chunked_step(*arguments, CPU, "a test")
            self.random_after = torch.rand(3), torch.rand(3, generator=masks)
        weights = [*self.encoder.model.parameters(), *self.head.parameters()]
        gradient = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
        for weight in weights:
            weight.grad = None
        assert not any(part.requires_grad for part in parts.values())
        return gradient, parts


def close(ours: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    largest = float(expected[0].abs().max())
    assert largest > 1e-3, "the case needs a gradient"
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-4, atol=2e-6 * max(1.0, largest))
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("loss", "mode"), LOSSES_AND_MODES)
def test_equals_the_plain_step_over_the_same_chunks_dropout_included(
    encoder: Encoder, loss: str, mode: str
) -> None:
    step = Step(encoder, loss, mode)
    plain = step("plain", 60)
    after = step.random_after
    close(step("chunked", 60), plain)
    for ours, expected in zip(step.random_after, after, strict=True):
        assert torch.equal(ours, expected), "the next step must draw what it would draw after a plain step"
    without = step("plain", 60, dropout=False)
    assert (without[0] - plain[0]).norm() > 0.05 * plain[0].norm(), "the case needs dropout that matters"


@pytest.mark.parametrize("chunk_tokens", [1, 16, 45, 10_000])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_dropout_equals_one_pass_over_the_whole_batch(
    encoder: Encoder, loss: str, chunk_tokens: int
) -> None:
    step = Step(encoder, loss)
    close(step("chunked", chunk_tokens, dropout=False), step("plain", 10_000, dropout=False))


def test_bfloat16_is_as_close_to_float32_as_the_plain_step(encoder: Encoder) -> None:
    exact = Step(encoder)("plain", 60)[0]
    step = Step(encoder, precision="bfloat16")
    plain, chunked = (step(kind, 60)[0] for kind in ("plain", "chunked"))
    plain_error, chunked_error = (float((g - exact).norm() / exact.norm()) for g in (plain, chunked))
    assert 1e-4 < plain_error < 0.1, "the case must compute in bfloat16"
    assert chunked_error < 1.5 * plain_error
