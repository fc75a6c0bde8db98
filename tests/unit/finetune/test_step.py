"""The gradient chunk by chunk against that of the whole batch at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gloss_tune.encoder import Encoder
from gloss_tune.encoder.seeded import SeededPass
from gloss_tune.finetune.chunking import padded_chunks
from gloss_tune.finetune.config import LOSSES, MODES, FinetuneConfig
from gloss_tune.finetune.embedding import embed_chunk
from gloss_tune.finetune.precision import autocast
from gloss_tune.finetune.step import add_gradient
from gloss_tune.finetune.threads import InTurn, Runner, SideBySide
from gloss_tune.finetune.training_loss import TrainingLoss
from tests.unit.finetune.tiny import documents

TOKENS = documents(60, classes=3, seed=1)
BATCH = np.argsort(-TOKENS.lengths, kind="stable")[::2]  # 30 documents, longest first
CPU = torch.device("cpu")
LOSSES_AND_MODES = [(loss, mode) for loss in LOSSES for mode in MODES if (loss, mode) != ("ce", "standalone")]


@pytest.fixture(scope="module")
def side_by_side() -> SideBySide:
    before = torch.get_num_threads()
    runner = SideBySide(2)
    torch.set_num_threads(before)
    return runner


class Step:
    """One step on the tiny encoder, each time from the same random states."""

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
        self.weights = [*self.encoder.model.parameters(), *self.head.parameters()]

    def __call__(
        self, chunk_tokens: int, *, hold: bool, dropout: bool = True, runner: Runner | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole gradient as one vector, and the loss's parts."""
        self.encoder.model.train(dropout)
        masks = torch.Generator().manual_seed(2)
        labels = torch.from_numpy(TOKENS.labels[BATCH])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            parts = add_gradient(
                self.encoder,
                lambda part: embed_chunk(self.encoder, TOKENS, part),
                [BATCH[chunk] for chunk in padded_chunks(TOKENS.lengths[BATCH], chunk_tokens)],
                lambda embeddings: self.loss(embeddings, labels, masks),
                trained=self.weights,
                context=self.context,
                runner=runner or InTurn(),
                hold=hold,
                setting="a test",
            )
            self.random_after = torch.rand(3), torch.rand(3, generator=masks)
        gradient = torch.cat([w.grad.flatten() for w in self.weights if w.grad is not None])
        for weight in self.weights:
            weight.grad = None
        assert not any(part.requires_grad for part in parts.values())
        return gradient, parts


def close(ours: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    largest = float(expected[0].abs().max())
    assert largest > 1e-3, "the case needs a gradient"
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-4, atol=2e-6 * max(1.0, largest))
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize(("loss", "mode"), LOSSES_AND_MODES)
def test_a_second_pass_gives_the_gradient_of_the_first_dropout_included(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, loss: str, mode: str, concurrent: bool
) -> None:
    if not concurrent:  # as an encoder that draws from torch's own generators
        monkeypatch.setattr(Encoder, "seeded_pass", lambda _, seed: SeededPass(seed))
    step = Step(encoder, loss, mode)
    held = step(60, hold=True)
    after = step.random_after
    close(step(60, hold=False), held)
    for ours, expected in zip(step.random_after, after, strict=True):
        assert torch.equal(ours, expected), "the next step must draw the same, whichever way this one went"
    without = step(60, hold=True, dropout=False)
    assert (without[0] - held[0]).norm() > 0.05 * held[0].norm(), "the case needs dropout that matters"


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("loss", "mode"), LOSSES_AND_MODES)
def test_two_threads_give_the_gradient_of_one_each_time_to_the_last_bit(
    encoder: Encoder, side_by_side: SideBySide, loss: str, mode: str, hold: bool
) -> None:
    step = Step(encoder, loss, mode)
    first = step(45, hold=hold, runner=side_by_side)
    close(first, step(45, hold=True))
    for _ in range(5):
        gradient, parts = step(45, hold=hold, runner=side_by_side)
        assert torch.equal(gradient, first[0])
        assert all(torch.equal(parts[name], first[1][name]) for name in parts)


def test_gradients_are_added_to_those_there_are(encoder: Encoder, side_by_side: SideBySide) -> None:
    step = Step(encoder)
    sums = []
    for runner in (InTurn(), side_by_side):
        for weight in step.weights:
            weight.grad = torch.ones_like(weight)
        sums.append(step(45, hold=True, runner=runner))
    close(sums[1], sums[0])
    assert float(sums[0][0].median()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("chunk_tokens", [1, 16, 45, 10_000])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_dropout_equals_one_pass_over_the_whole_batch(
    encoder: Encoder, side_by_side: SideBySide, loss: str, chunk_tokens: int
) -> None:
    step = Step(encoder, loss)
    whole = step(10_000, hold=True, dropout=False)
    close(step(chunk_tokens, hold=False, dropout=False), whole)
    close(step(chunk_tokens, hold=True, dropout=False, runner=side_by_side), whole)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("hold", [True, False])
def test_the_way_back_is_outside_of_autocast(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, side_by_side: SideBySide, hold: bool, threads: int
) -> None:
    there, back = [], []

    def watched(self: Encoder, *arguments: object) -> Tensor:
        there.append(torch.is_autocast_enabled("cpu"))
        embeddings = whole(self, *arguments)
        if embeddings.requires_grad:
            embeddings.register_hook(lambda _: back.append(torch.is_autocast_enabled("cpu")))
        return embeddings

    whole = Encoder.embed
    monkeypatch.setattr(Encoder, "embed", watched)
    Step(encoder, precision="bfloat16")(60, hold=hold, runner=side_by_side if threads == 2 else None)
    assert len(back) > 1
    assert all(there)
    assert not any(back)


@pytest.mark.parametrize("threads", [1, 2])
def test_bfloat16_is_as_close_to_float32_held_or_not(
    encoder: Encoder, side_by_side: SideBySide, threads: int
) -> None:
    exact = Step(encoder)(60, hold=True)[0]
    step = Step(encoder, precision="bfloat16")
    held = step(60, hold=True)[0]
    again = step(60, hold=False, runner=side_by_side if threads == 2 else None)[0]
    held_error, error = (float((g - exact).norm() / exact.norm()) for g in (held, again))
    assert 1e-4 < held_error < 0.1, "the case must compute in bfloat16"
    assert error < 1.5 * held_error
