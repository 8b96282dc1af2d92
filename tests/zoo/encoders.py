"""Text encoders of transformers, with their heads."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo.entry import Built, Entry, padding_mask, tokens

VOCABULARY = 100
TINY = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def encoder(model: str, config: str, *, types: bool = False, **settings: Any) -> Built:
    """Build a model of transformers by the names of its class and config, for token ids of any length and a padding mask."""
    import transformers

    module = getattr(transformers, model)(getattr(transformers, config)(**settings))
    inputs = {"input_ids": tokens(VOCABULARY), "attention_mask": padding_mask()}
    if types:
        inputs["token_type_ids"] = 1 - inputs["attention_mask"]
    return module, inputs, {name: {1: "seq"} for name in inputs}


def entry(name: str, model: str, config: str, settings: dict[str, Any] | None = None, **facts: Any) -> Entry:
    types = facts.pop("types", False)
    settings = TINY if settings is None else settings
    return Entry(name, "encoders", partial(encoder, model, config, types=types, **settings), **facts)


ENTRIES = (
    entry("bert", "BertForSequenceClassification", "BertConfig", types=True, saved=True),
    entry("roberta", "RobertaForTokenClassification", "RobertaConfig", {**TINY, "pad_token_id": 1}),
    entry("distilbert", "DistilBertForSequenceClassification", "DistilBertConfig",
          {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    entry("deberta_v2", "DebertaV2Model", "DebertaV2Config",
          {**TINY, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
           "max_relative_positions": 16, "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
          saved=True),
    entry("albert", "AlbertModel", "AlbertConfig", {**TINY, "embedding_size": 16}, types=True),
    entry("electra", "ElectraForPreTraining", "ElectraConfig", {**TINY, "embedding_size": 16}),
    entry("mpnet", "MPNetModel", "MPNetConfig", TINY),
    entry("modernbert", "ModernBertForMaskedLM", "ModernBertConfig",
          {**TINY, "local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0, "cls_token_id": 1,
           "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}),
    entry("fnet", "FNetModel", "FNetConfig", TINY),
)  # fmt: skip
