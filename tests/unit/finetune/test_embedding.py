import numpy as np
import pytest
import torch

from gloss_tune.encoder import Encoder
from gloss_tune.finetune import chunking, embedding
from gloss_tune.finetune.chunking import even_chunks, filled_chunks, padded_chunks
from gloss_tune.finetune.embedding import embed_documents, embed_split
from gloss_tune.finetune.precision import autocast
from tests.unit.finetune.tiny import documents

TOKENS = documents(50, classes=3, seed=1)


@pytest.mark.parametrize("max_tokens", [1, 7, 16, 40, 1000])
def test_chunks_cover_every_document_within_the_limit(max_tokens: int) -> None:
    lengths = np.sort(np.random.default_rng(0).integers(3, 17, size=37))[::-1]
    seen = []
    for chunk in padded_chunks(lengths, max_tokens):
        part = lengths[chunk]
        assert len(part) == 1 or part.max() * len(part) <= max_tokens
        seen.extend(part.tolist())
    assert seen == lengths.tolist()


@pytest.mark.parametrize("max_tokens", [1, 7, 16, 40, 100, 1000])
@pytest.mark.parametrize("longest", [4, 17, 400])
@pytest.mark.parametrize("count", [1, 2, 3, 37])
def test_even_chunks_cover_every_document_within_the_limit(max_tokens: int, longest: int, count: int) -> None:
    lengths = np.sort(np.random.default_rng(count).integers(3, longest, size=count))[::-1]
    cut = even_chunks(lengths, max_tokens)
    assert [length for chunk in cut for length in lengths[chunk]] == lengths.tolist()
    assert all(len(lengths[chunk]) == 1 or lengths[chunk].sum() <= max_tokens for chunk in cut)


def test_even_chunks_are_even() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = np.sort(rng.integers(3, 128, size=128))[::-1]
        tokens = [int(lengths[chunk].sum()) for chunk in even_chunks(lengths, 2048)]
        assert len(tokens) % 2 == 0
        assert max(tokens) - min(tokens) <= 2 * lengths.max()
        assert min(tokens) > 1024, "no more chunks than needed"


def test_chunking_does_not_change_the_embeddings(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder.model.eval()
    longest_first = np.argsort(-TOKENS.lengths, kind="stable")[:20]
    with torch.no_grad():
        whole = embed_documents(encoder, TOKENS, longest_first)
        monkeypatch.setitem(chunking._DEFAULT_TOKENS, "cpu", 30)
        parts = embed_documents(encoder, TOKENS, longest_first)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3), "the case needs embeddings that differ"


@pytest.mark.parametrize("batch", [7, 50, 256])
def test_a_split_is_embedded_in_its_own_order(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(embedding, "_EVALUATION_BATCH", batch)
    calls = []
    encoder.model.train()
    float32 = autocast("float32", encoder.device)
    split = embed_split(encoder, TOKENS, float32, lambda: calls.append(1))
    assert encoder.model.training, "the mode must stay as it was"
    assert len(calls) == -(-50 // batch)
    encoder.model.eval()
    with torch.no_grad():
        one_by_one = torch.cat([embed_documents(encoder, TOKENS, np.array([i])) for i in range(50)])
    torch.testing.assert_close(split, one_by_one, atol=1e-5, rtol=1e-5)


def test_the_mode_is_restored_when_on_step_raises(encoder: Encoder) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    encoder.model.train()
    with pytest.raises(KeyboardInterrupt):
        embed_split(encoder, TOKENS, autocast("float32", encoder.device), stop)
    assert encoder.model.training


@pytest.mark.parametrize("max_tokens", [1, 7, 64, 10_000])
def test_filled_chunks_are_as_few_as_there_can_be_of_real_tokens(max_tokens: int) -> None:
    lengths = np.sort(np.random.default_rng(0).integers(1, 30, size=50))[::-1]
    cut = filled_chunks(lengths, max_tokens)
    assert [index for chunk in cut for index in range(chunk.start, chunk.stop)] == list(range(50))
    tokens = [int(lengths[chunk].sum()) for chunk in cut]
    assert all(
        count <= max_tokens or chunk.stop - chunk.start == 1 for count, chunk in zip(tokens, cut, strict=True)
    )
    # with the next document, each would be too large
    assert all(
        count + lengths[chunk.stop] > max_tokens for count, chunk in zip(tokens[:-1], cut[:-1], strict=True)
    )
