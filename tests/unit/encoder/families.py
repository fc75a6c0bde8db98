"""Tiny random encoders of all families, as folders in the Hub's layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

WORDS = [f"{letter}{digit}" for letter in "abcdefgh" for digit in range(8)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = len(SPECIAL) + len(WORDS)
_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
_SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
_DECODER = {"num_key_value_heads": 1, "head_dim": 16, "bos_token_id": 2, "eos_token_id": 3}


@dataclass(frozen=True)
class Family:
    """One kind of encoder.

    Args:
        config: the class's name without ``Config``.
        changes: of the sizes.
        way: the pass it is expected to get.
        model: the class's name without ``Model``, where that differs.
        plain: whether ``changes`` are all there is, because the names are others.
    """

    config: str
    changes: dict[str, Any] = field(default_factory=dict)
    way: str = "padded"
    model: str = ""
    plain: bool = False


PACKED, ALONE = "without padding", "one length at a time"
FAMILIES = {
    "bert": Family("Bert", way=PACKED),
    "roberta": Family("Roberta", {"pad_token_id": 1}, PACKED),
    "xlm-roberta": Family("XLMRoberta", {"pad_token_id": 1}, PACKED),
    "camembert": Family("Camembert", {"pad_token_id": 1}, PACKED),
    "electra": Family("Electra", {"embedding_size": 16}, PACKED),
    "distilbert": Family("DistilBert", {"vocab_size": VOCAB, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48,
                                        "max_position_embeddings": 66, "pad_token_id": 0}, PACKED, plain=True),
    "albert": Family("Albert", {"embedding_size": 16}, PACKED),
    "mpnet": Family("MPNet", {"pad_token_id": 1}, PACKED),
    "modernbert": Family("ModernBert", {**_SPECIAL, "global_attn_every_n_layers": 2, "local_attention": 8}, PACKED),
    "deberta": Family("Deberta", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"],
                                   "max_relative_positions": 8}),
    "deberta-v3": Family("DebertaV2", {"relative_attention": True, "position_buckets": 8,
                                       "position_biased_input": False, "pos_att_type": ["c2p", "p2c"],
                                       "share_att_key": True, "norm_rel_ebd": "layer_norm"}),
    "xlnet": Family("XLNet", {"vocab_size": VOCAB, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48,
                              "pad_token_id": 0}, plain=True),
    "xlm": Family("XLM", {"vocab_size": VOCAB, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_index": 0,
                          "pad_token_id": 0, "max_position_embeddings": 66, "n_langs": 1}, plain=True),
    "flaubert": Family("Flaubert", {"vocab_size": VOCAB, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_index": 0,
                                    "pad_token_id": 0, "max_position_embeddings": 66, "n_langs": 1}, plain=True),
    "data2vec": Family("Data2VecText", {"pad_token_id": 1}, PACKED),
    "xlm-roberta-xl": Family("XLMRobertaXL", {"pad_token_id": 1}, PACKED),
    "roberta-prelayernorm": Family("RobertaPreLayerNorm", {"pad_token_id": 1}, PACKED),
    "xmod": Family("Xmod", {"pad_token_id": 1, "languages": ["en_XX"], "default_language": "en_XX"}, PACKED),
    "ernie": Family("Ernie", way=PACKED),
    "megatron-bert": Family("MegatronBert"),
    "rembert": Family("RemBert", {"input_embedding_size": 16}),
    "ibert": Family("IBert", {"pad_token_id": 1}),
    "mra-layoutlm": Family("LayoutLM"),
    "longformer": Family("Longformer", {"attention_window": 4, "pad_token_id": 1, "sep_token_id": 3}),
    "bigbird": Family("BigBird", {"block_size": 2, "num_random_blocks": 1, "attention_type": "block_sparse",
                                  "sep_token_id": 3}, ALONE),
    "mobilebert": Family("MobileBert", {"intra_bottleneck_size": 16, "embedding_size": 16, "true_hidden_size": 16,
                                        "num_feedforward_networks": 1}, ALONE),
    "convbert": Family("ConvBert", {"embedding_size": 16, "head_ratio": 1}, ALONE),
    "fnet": Family("FNet", {"type_vocab_size": 2}, ALONE),
    "nystromformer": Family("Nystromformer", {"num_landmarks": 8, "segment_means_seq_len": 8}, ALONE),
    "yoso": Family("Yoso", {"use_expectation": True}, ALONE),
    "squeezebert": Family("SqueezeBert", {"embedding_size": 32, "q_groups": 1, "k_groups": 1, "v_groups": 1,
                                          "post_attention_groups": 1, "intermediate_groups": 1, "output_groups": 1}),
    "funnel": Family("Funnel", {"vocab_size": VOCAB, "block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16,
                                "d_inner": 48, "num_decoder_layers": 1}, ALONE, plain=True),
    "roformer": Family("RoFormer", {"embedding_size": 32}),
    "esm": Family("Esm", {"pad_token_id": 1, "position_embedding_type": "rotary", "mask_token_id": 4}, PACKED),
    "nomic-bert": Family("NomicBert", way=PACKED),
    "eurobert": Family("EuroBert", {**_DECODER, "num_key_value_heads": 2}, PACKED),
    "jina-v3": Family("JinaEmbeddingsV3", {"pad_token_id": 1}, PACKED),
    "canine": Family("Canine", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                                "intermediate_size": 48, "num_hash_buckets": 64, "local_transformer_stride": 16,
                                "max_position_embeddings": 128, "bos_token_id": 0xE000, "eos_token_id": 0xE001,
                                "pad_token_id": 0}, ALONE, plain=True),
    "t5": Family("T5", {"vocab_size": VOCAB, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2,
                        "pad_token_id": 0, "eos_token_id": 3}, plain=True, model="T5Encoder"),
    "gpt2": Family("GPT2", {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66,
                            "bos_token_id": 3, "eos_token_id": 3}, plain=True),
    "llama": Family("Llama", _DECODER),
    "mistral": Family("Mistral", _DECODER),
    "qwen3": Family("Qwen3", _DECODER),
    "gemma": Family("Gemma", _DECODER),
    "opt": Family("OPT", {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                          "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 66,
                          "pad_token_id": 1}, plain=True),
    "mt5": Family("MT5", {"vocab_size": VOCAB, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2,
                          "pad_token_id": 0, "eos_token_id": 3}, plain=True, model="MT5Encoder"),
    "umt5": Family("UMT5", {"vocab_size": VOCAB, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2,
                            "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3}, plain=True, model="UMT5Encoder"),
    "luke": Family("Luke", {"entity_vocab_size": 4, "entity_emb_size": 8, "pad_token_id": 1}),
    "splinter": Family("Splinter", {"question_token_id": 4}, PACKED),
    "bart": Family("Bart", {"vocab_size": VOCAB, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48,
                            "decoder_ffn_dim": 48, "max_position_embeddings": 66, "pad_token_id": 1,
                            "decoder_start_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}, plain=True),
    "led": Family("LED", {"vocab_size": VOCAB, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                          "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48,
                          "decoder_ffn_dim": 48, "max_encoder_position_embeddings": 66,
                          "max_decoder_position_embeddings": 66, "pad_token_id": 1, "attention_window": 4,
                          "decoder_start_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}, plain=True),
    "clip-text": Family("CLIPText", {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2,
                                     "num_attention_heads": 2, "intermediate_size": 48,
                                     "max_position_embeddings": 66, "pad_token_id": 0, "bos_token_id": 2,
                                     "eos_token_id": 3}, plain=True),
    "gemma2": Family("Gemma2", {**_DECODER, "sliding_window": 4, "query_pre_attn_scalar": 16}),
    "gemma3": Family("Gemma3Text", {**_DECODER, "sliding_window": 4, "query_pre_attn_scalar": 16}),
    "phi3": Family("Phi3", {**_DECODER, "num_key_value_heads": 2, "pad_token_id": 0}),
    "gpt-neox": Family("GPTNeoX", {"bos_token_id": 2, "eos_token_id": 3}),
    "bloom": Family("Bloom", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0,
                              "bos_token_id": 2, "eos_token_id": 3}, plain=True),
    "mamba": Family("Mamba", {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4,
                              "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}, plain=True),
}  # fmt: skip


def write_family(folder: Path, name: str) -> Path:
    """An encoder as ``save_pretrained`` leaves it, with a tokenizer of words."""
    family = FAMILIES[name]
    changes = family.changes if family.plain else {**_SIZES, **family.changes}
    config = getattr(transformers, f"{family.config}Config")(**changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{family.model or family.config}Model")(config)
        with torch.no_grad():  # the small first weights of most families would hide what lies between tokens
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
        model.save_pretrained(folder)
    if name == "canine":
        transformers.CanineTokenizer().save_pretrained(folder)
    else:
        word_tokenizer(padding=name != "gpt2", segments=name == "xlnet").save_pretrained(folder)
    return folder


def word_tokenizer(*, padding: bool = True, segments: bool = False) -> Any:
    """A fast tokenizer of words between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:2" if segments else "[CLS] $A [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if padding:
        names["pad_token"] = "[PAD]"
    else:
        names["eos_token"] = "[SEP]"
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)
