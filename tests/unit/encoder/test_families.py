"""Encoders of all families through the whole chain: loaded, tried, trained for a step, saved, and loaded by others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.check import check_encoder
from tests.unit.encoder.families import ALONE, FAMILIES, PACKED, WORDS, write_family

_RANDOM = random.Random(0)
TEXTS = [" ".join(_RANDOM.choices(WORDS, k=_RANDOM.randint(1, 24))) for _ in range(9)]
#: in the default run; all the others are slow together
OFTEN = {
    "bert",
    "roberta",
    "mpnet",
    "modernbert",
    "deberta-v3",
    "xlnet",
    "mobilebert",
    "gpt2",
    "nomic-bert",
}


def embed(encoder: Encoder, texts: list[str]) -> torch.Tensor:
    """By our own pass."""
    rows = encoder.preprocessor(texts, 32)
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    ids = torch.from_numpy(np.concatenate([rows[row] for row in order]).astype(np.int64))
    embeddings = encoder.embed(ids, np.array([len(rows[row]) for row in order]))
    return embeddings[torch.tensor(order).argsort()]


def train_a_step(encoder: Encoder, texts: list[str], *, half: bool) -> None:
    encoder.model.train()
    optimizer = torch.optim.SGD(encoder.model.parameters(), lr=0.01)
    with torch.autocast("cpu", torch.bfloat16, half):
        loss = embed(encoder, texts).square().mean()
    loss.backward()
    optimizer.step()
    encoder.model.eval()


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_the_saved_folder_embeds_as_what_was_trained(tmp_path: Path, name: str, half: bool) -> None:
    resolved = resolve_encoder(str(write_family(tmp_path / "encoder", name)))
    tried = check_encoder(resolved, TEXTS, 32)
    assert tried.way == FAMILIES[name].way
    assert (tried.reason == "") == (tried.way == PACKED)
    assert tried.unknown == 0.0
    encoder = Encoder.load(resolved, max_length=32)
    before = encoder.weights()
    with torch.no_grad():
        untrained = embed(encoder, TEXTS)
    train_a_step(encoder, TEXTS, half=half and tried.half_difference is not None)
    changed = {key for key, value in encoder.weights().items() if not torch.equal(value, before[key])}
    assert any("embed" in key or "0.model" in key or "auto_model" in key for key in changed)
    with torch.no_grad():
        trained = embed(encoder, TEXTS)
    assert not torch.allclose(trained, untrained, atol=1e-6)
    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    size = 1 if tried.way == ALONE else 32
    expected = theirs.encode(TEXTS, batch_size=size, convert_to_tensor=True)
    torch.testing.assert_close(trained, expected, rtol=1e-3, atol=1e-5)
    again = Encoder.load(resolve_encoder(str(tmp_path / "saved")), max_length=32)
    with torch.no_grad():
        torch.testing.assert_close(embed(again, TEXTS), trained, rtol=1e-4, atol=1e-6)
