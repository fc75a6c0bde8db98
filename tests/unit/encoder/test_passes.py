"""Which architectures do without padding, and that their embeddings and gradients stay what they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from torch import Tensor

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.layout import Layout
from gloss_tune.encoder.model import trained_modules
from gloss_tune.encoder.passes import PaddedPass
from tests.unit.finetune.tiny import write_encoder

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 34,
    "vocab_size": 41,
    "pad_token_id": 0,
}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
SPECIAL = dict.fromkeys(["bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"], 2)
PACKING = {
    "Bert": {},
    "Roberta": {},
    "Electra": {"embedding_size": 32},
    "DistilBert": DISTILBERT,
    "MPNet": {"pad_token_id": 1},  # a bias for each distance
    # every second layer sees four tokens to each side
    "ModernBert": {**SPECIAL, "global_attn_every_n_layers": 2, "local_attention": 8},
}
PADDING = {
    "DebertaV2": {},  # a bias of its own
}
LENGTHS = np.array([12, 11, 7, 3, 3])


def load(folder: Path, architecture: str, changes: dict[str, object]) -> Encoder:
    write_encoder(folder)
    config = getattr(transformers, f"{architecture}Config")(**{**SIZES, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        getattr(transformers, f"{architecture}Model")(config).save_pretrained(folder)
    return Encoder.load(resolve_encoder(str(folder)), max_length=16)


def tokens() -> Tensor:
    return torch.randint(5, 41, (int(LENGTHS.sum()),), generator=torch.Generator().manual_seed(0))


def padded(encoder: Encoder) -> PaddedPass:
    return PaddedPass(trained_modules(encoder.model), encoder.preprocessor, encoder.pad_id)


@pytest.mark.parametrize("architecture", PACKING)
def test_embeddings_and_gradients_are_those_with_padding(tmp_path: Path, architecture: str) -> None:
    encoder = load(tmp_path, architecture, PACKING[architecture])
    assert encoder.packs
    assert encoder.concurrent, "its dropout is all of torch's plain kind"
    encoder.model.eval()
    weights = torch.randn(len(LENGTHS), 32, generator=torch.Generator().manual_seed(2))
    found = []
    for embed in (encoder.choice.chosen, padded(encoder)):
        embeddings = embed(tokens(), Layout(LENGTHS, encoder.device))
        (embeddings * weights).sum().backward()
        gradients = {
            name: p.grad.clone() for name, p in encoder.model.named_parameters() if p.grad is not None
        }
        found.append((embeddings.detach(), gradients))
        encoder.model.zero_grad()
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", PADDING)
def test_what_cannot_do_without_padding_keeps_it(
    tmp_path: Path, architecture: str, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = load(tmp_path, architecture, PADDING[architecture])
    assert not encoder.packs
    assert not encoder.concurrent
    assert "does not support" not in capfd.readouterr().err
    encoder.model.eval()
    with torch.no_grad():
        together = encoder.embed(tokens(), LENGTHS)
        alone = [encoder.embed(part, np.array([len(part)])) for part in tokens().split(LENGTHS.tolist())]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_encoder_works_as_ever_for_everyone_else(tmp_path: Path) -> None:
    """With padding and a mask, as others call it, and in a folder that others load."""
    encoder = load(tmp_path / "ours", "Bert", {})
    encoder.save(tmp_path / "saved")
    assert "gloss" not in (tmp_path / "saved" / "config.json").read_text()
    texts = ["a1 b2 c3", "d4"]
    expected = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(
        texts, convert_to_tensor=True
    )
    encoder.model.eval()
    rows = encoder.tokenizer(texts)["input_ids"]
    ids = torch.tensor([token for row in rows for token in row])
    as_ever = encoder.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = encoder.embed(ids, np.array([len(row) for row in rows]))
        called = encoder.model(dict(as_ever))["sentence_embedding"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(called, expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_ours(tmp_path: Path) -> None:
    """In training, two passes differ by dropout, and a seed repeats them."""
    encoder = load(tmp_path, "Bert", {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5})
    kinds = {type(module).__module__ for module in encoder.model.modules()}
    assert "gloss_tune.encoder.dropout" in kinds
    encoder.model.train()
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(encoder.embed(tokens(), LENGTHS).detach())
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2], atol=1e-2)
