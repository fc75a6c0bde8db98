"""What users bring as an encoder: embedded as its own folder does, or refused in one sentence with nothing written."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.check import EncoderCheck, check_encoder
from gloss_tune.errors import EncoderError
from tests.unit.encoder.families import WORDS, write_family
from tests.unit.encoder.test_families import TEXTS, embed, train_a_step


def parts() -> ModuleType:
    try:
        return importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ImportError:  # before sentence-transformers 6
        return importlib.import_module("sentence_transformers.models")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("bert"), "bert")


def transformer(folder: Path) -> Any:
    return parts().Transformer(str(folder))


def saved(folder: Path, *modules: Any, **said: Any) -> Path:
    """A folder of these modules, with these entries of config_sentence_transformers.json."""
    SentenceTransformer(modules=list(modules), device="cpu").save(str(folder), create_model_card=False)
    change(folder / "config_sentence_transformers.json", **said)
    return folder


def change(file: Path, **entries: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **entries}))


def check(folder: Path, *, max_length: int = 32, **settings: Any) -> EncoderCheck:
    return check_encoder(resolve_encoder(str(folder), **settings), TEXTS, max_length)


def whole_way(folder: Path, tmp_path: Path, **settings: Any) -> tuple[Encoder, SentenceTransformer]:
    """Checked, trained, saved; the saved folder's own encode gives what was trained."""
    check(folder, **settings)
    encoder = Encoder.load(resolve_encoder(str(folder), **settings), max_length=32)
    train_a_step(encoder, TEXTS, half=False)
    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    with torch.no_grad():
        ours = embed(encoder, TEXTS)
    expected = theirs.encode(TEXTS, convert_to_tensor=True)
    if type(list(theirs)[-1]).__name__ == "Normalize":
        ours = torch.nn.functional.normalize(ours, dim=1)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)
    assert encoder.dimension == expected.shape[1]
    return encoder, theirs


PROMPTS = {"prompts": {"query": "a1 a2 ", "passage": "b1 "}}


@pytest.mark.parametrize(
    ("said", "prompt", "text"),
    [
        ({}, "c3 c4 ", "c3 c4 "),
        (PROMPTS, None, None),
        ({**PROMPTS, "default_prompt_name": "query"}, None, "a1 a2 "),
        ({**PROMPTS, "default_prompt_name": "query"}, "passage", "b1 "),
        ({**PROMPTS, "default_prompt_name": "query"}, "", ""),
    ],
)
def test_the_prompt_goes_before_each_text_and_into_the_saved_folder(
    tmp_path: Path, bert: Path, said: dict[str, Any], prompt: str | None, text: str | None
) -> None:
    folder = saved(tmp_path / "encoder", transformer(bert), parts().Pooling(32, "mean"), **said)
    encoder, theirs = whole_way(folder, tmp_path, prompt=prompt)
    assert encoder.preprocessor.prompt == text
    with_prompt = theirs.encode(TEXTS, prompt=text or "", convert_to_tensor=True)
    torch.testing.assert_close(theirs.encode(TEXTS, convert_to_tensor=True), with_prompt)
    assert check(folder, prompt=prompt).prompt == (text or "")
    again = Encoder.load(resolve_encoder(str(tmp_path / "saved")), max_length=32)
    assert (again.preprocessor.prompt or "") == (text or "")


def test_a_pooling_without_the_prompt_leaves_it_out(tmp_path: Path, bert: Path) -> None:
    pooling = parts().Pooling(32, "mean", include_prompt=False)
    folder = saved(tmp_path / "encoder", transformer(bert), pooling)
    whole_way(folder, tmp_path, prompt="a1 a2 ")


def test_a_normalisation_counts_unless_it_is_the_last(tmp_path: Path, bert: Path) -> None:
    modules = [transformer(bert), parts().Pooling(32, "mean"), parts().Normalize(), parts().Dense(32, 8)]
    encoder, _ = whole_way(saved(tmp_path / "dense", *modules), tmp_path)
    assert encoder.dimension == 8
    folder = saved(tmp_path / "last", *modules[:2], parts().Normalize())
    assert check(folder).way == "without padding"


def test_a_truncated_dimension_is_that_of_the_training(tmp_path: Path, bert: Path) -> None:
    folder = saved(tmp_path / "encoder", transformer(bert), parts().Pooling(32, "mean"), truncate_dim=10)
    encoder, _ = whole_way(folder, tmp_path)
    assert encoder.dimension == 10


def test_the_side_of_truncation_is_the_folder_s_and_has_tokens_of_its_own(tmp_path: Path, bert: Path) -> None:
    left = Path(shutil.copytree(bert, tmp_path / "left"))
    change(left / "tokenizer_config.json", truncation_side="left")
    rows = {}
    for folder in (bert, left):
        encoder = Encoder.load(resolve_encoder(str(folder)), max_length=5)
        rows[folder] = [row.tolist() for row in encoder.preprocessor(["a1 a2 a3 a4 a5"], 5)]
        rows[folder].append(encoder.preprocessor.fingerprint)
    assert rows[bert] != rows[left]
    assert rows[bert][-1] != rows[left][-1]
    assert check_encoder(resolve_encoder(str(left)), TEXTS, 5).difference < 1e-5


@pytest.mark.parametrize("max_length", [6, 9])
def test_a_lower_case_and_a_short_text_are_as_encode_has_them(
    tmp_path: Path, bert: Path, max_length: int
) -> None:
    folder = saved(tmp_path / "encoder", transformer(bert), parts().Pooling(32, "cls"))
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    found = check_encoder(resolve_encoder(str(folder)), [text.upper() for text in TEXTS], max_length)
    assert found.unknown == 0.0


def test_a_dropout_of_sentence_transformers_costs_no_packing(tmp_path: Path, bert: Path) -> None:
    folder = saved(tmp_path / "encoder", transformer(bert), parts().Pooling(32, "mean"), parts().Dropout(0.3))
    assert check(folder).way == "without padding"


def test_static_embeddings_are_trained_whole(tmp_path: Path) -> None:
    encoder, _ = whole_way(static(tmp_path / "static"), tmp_path)
    assert encoder.packs
    assert check(tmp_path / "static").way == "static"
    with torch.no_grad():
        empty = embed(encoder, ["a1", "nothing known here", "b2 b3"])
    assert empty.isfinite().all()


def static(folder: Path) -> Path:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.randn(len(vocabulary), 12, generator=torch.Generator().manual_seed(0))
    return saved(folder, parts().StaticEmbedding(tokenizer, embedding_weights=weights))


def test_model2vec_folders_are_static_embeddings(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = static(tmp_path / "static")
    weights = load_file(folder / "model.safetensors") if (folder / "model.safetensors").exists() else {}
    inner = folder if weights else folder / "0_StaticEmbedding"
    weights = load_file(inner / "model.safetensors")
    save_file({"embeddings": weights["embedding.weight"]}, inner / "model.safetensors")
    whole_way(folder, tmp_path)


@pytest.mark.parametrize("behind", ["pooling", "lstm", "cnn"])
def test_word_vectors_are_trained_with_what_lies_behind_them(tmp_path: Path, behind: str) -> None:
    whitespace = importlib.import_module(
        "sentence_transformers.sentence_transformer.modules.tokenizer"
        if "sentence_transformer." in parts().__name__
        else "sentence_transformers.models.tokenizer"
    ).WhitespaceTokenizer(WORDS, stop_words=set(), do_lower_case=True)
    words = parts().WordEmbeddings(whitespace, torch.randn(len(WORDS), 12).numpy())
    modules = {
        "pooling": [parts().Pooling(12, "mean")],
        "lstm": [parts().LSTM(12, 5), parts().Pooling(10, "max")],
        "cnn": [parts().CNN(12, 4), parts().Pooling(12, "max")],
    }[behind]
    folder = saved(tmp_path / "words", words, *modules)
    found = check(folder)
    assert found.way == ("one length at a time" if behind == "cnn" else "padded")
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=32)
    before = encoder.weights()
    train_a_step(encoder, TEXTS, half=False)
    table = next(key for key in before if "emb_layer" in key)
    assert not torch.equal(encoder.weights()[table], before[table]), "saved as frozen, trained nevertheless"


def test_a_bag_of_words_has_nothing_to_train(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bow", parts().BoW(WORDS, {}))
    with pytest.raises(EncoderError, match=r"must make token ids, got BoW.*nothing to train"):
        check(folder)


def test_a_slow_tokenizer_is_as_good_as_a_fast_one(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    folder = tmp_path / "byt5"
    config = T5Config(vocab_size=384, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, pad_token_id=0)
    T5EncoderModel(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    assert not Encoder.load(resolve_encoder(str(folder)), max_length=32).tokenizer.is_fast
    whole_way(folder, tmp_path)


def test_more_tokens_than_rows_are_refused(tmp_path: Path, bert: Path) -> None:
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(bert, tmp_path / "larger"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["newword"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(EncoderError, match="with 69 rows and tokens up to number 69"):
        check(folder)


@pytest.mark.parametrize("missing", ["tokenizer.json", "all"])
def test_a_folder_without_its_tokenizer_is_refused(tmp_path: Path, bert: Path, missing: str) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bare"))
    for file in folder.glob("*token*" if missing == "all" else missing):
        file.unlink()
    with pytest.raises(EncoderError):
        check(folder)


@pytest.mark.parametrize(
    ("name", "most"),
    [("bert", 66), ("roberta", 64), ("data2vec", 64), ("xlm-roberta-xl", 64), ("mpnet", 64), ("longformer", 64),
     ("gpt2", 66), ("opt", 66)],
)  # fmt: skip
def test_more_tokens_than_positions_are_refused(tmp_path: Path, name: str, most: int) -> None:
    resolved = resolve_encoder(str(write_family(tmp_path, name)))
    with pytest.raises(EncoderError, match=rf"at most what the encoder takes \({most} for .*got {most + 1}"):
        Encoder.load(resolved, max_length=most + 1)
    assert check_encoder(resolved, TEXTS, most).parameters > 0


@pytest.mark.parametrize("name", ["xlnet", "deberta-v3", "t5"])
def test_relative_positions_have_no_end(tmp_path: Path, name: str) -> None:
    assert check(write_family(tmp_path, name), max_length=200).difference < 1e-3


def test_bigbird_keeps_its_attention(tmp_path: Path) -> None:
    encoder = Encoder.load(resolve_encoder(str(write_family(tmp_path, "bigbird"))), max_length=60)
    transformers_model: Any = encoder.model[0].auto_model
    for _ in range(2):
        embed(encoder, ["a1", " ".join(WORDS[:40])])
        assert transformers_model.attention_type == "block_sparse"


def test_bfloat16_is_refused_where_an_encoder_cannot(tmp_path: Path) -> None:
    resolved = resolve_encoder(str(write_family(tmp_path, "deberta")))
    assert check_encoder(resolved, TEXTS, 32).half_difference is None
    with pytest.raises(EncoderError, match="needs float32"):
        check_encoder(resolved, TEXTS, 32, "bfloat16")


def test_one_that_embeds_otherwise_than_its_folder_is_refused(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Encoder, "embed", lambda self, ids, lengths: self.choice.chosen(ids, layout(lengths)) * 1.01
    )
    with pytest.raises(EncoderError, match=r"whose embeddings differ by 1\.0%"):
        check(bert)


def layout(lengths: Any) -> Any:
    from gloss_tune.encoder.layout import Layout

    return Layout(lengths, torch.device("cpu"))
