"""Causal language models of transformers: logits of a whole sequence, and a step with a cache as a second signature."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.entry import Built, Entry, padding_mask, tokens

VOCABULARY = 100
LAYERS, HEADS, WIDTH = 2, 4, 32
TINY = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": 2, "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "use_cache": False,
}  # fmt: skip
GPT2 = {
    "vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64, "bos_token_id": 1,
    "eos_token_id": 2, "use_cache": False,
}  # fmt: skip


class WithCache(nn.Module):
    """A causal model with a step from new tokens and cached keys and values to logits and longer keys and values.

    Keys and values of all layers are one tensor each, [batch, layers, heads, past, size], so that the first axis is the batch.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.module(input_ids=input_ids, use_cache=False).logits

    def step(self, input_ids: Tensor, past_keys: Tensor, past_values: Tensor) -> dict[str, Tensor]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(past_keys.shape[1]):
            cache.update(past_keys[:, layer], past_values[:, layer], layer)
        logits = self.module(input_ids=input_ids, past_key_values=cache, use_cache=True).logits
        keys = torch.stack([layer.keys for layer in cache.layers], 1)
        values = torch.stack([layer.values for layer in cache.layers], 1)
        return {"logits": logits, "keys": keys, "values": values}


def step(heads: int, new: str = "1", size: int = WIDTH // HEADS) -> dict[str, dict[str, Any]]:
    """Return the signature of `WithCache.step` for `new` tokens at a time."""
    cache = f"[batch,{LAYERS},{heads},past,{size}]"
    inputs = (f"input_ids=int64[batch,{new}]", f"past_keys=float32{cache}", f"past_values=float32{cache}")
    return {"step": {"method": "step", "inputs": inputs}}


def causal(model: str, config: str, settings: dict[str, Any], *, cached: bool = False, mask: bool = False) -> Built:
    """Build a causal model by the names of its classes, for token sequences of any length."""
    import transformers

    module = getattr(transformers, model)(getattr(transformers, config)(**settings))
    inputs = {"input_ids": tokens(VOCABULARY)}
    if mask:
        inputs["attention_mask"] = padding_mask()
    return WithCache(module) if cached else module, inputs, {name: {1: "seq"} for name in inputs}


def entry(name: str, model: str, settings: dict[str, Any] | None = None, *, mask: bool = False, **facts: Any) -> Entry:
    config = model.replace("ForCausalLM", "Config").replace("LMHeadModel", "Config")
    settings = TINY if settings is None else settings
    build = partial(causal, model, config, settings, cached="signatures" in facts, mask=mask)
    return Entry(name, "decoders", build, **facts)


ENTRIES = (
    entry("gpt2", "GPT2LMHeadModel", GPT2, saved=True, signatures=step(HEADS)),
    entry("llama", "LlamaForCausalLM", saved=True, signatures=step(2)),
    entry("qwen2", "Qwen2ForCausalLM", mask=True),
    entry("qwen3", "Qwen3ForCausalLM", {**TINY, "head_dim": 8}, signatures=step(2, "new")),
    entry("mistral", "MistralForCausalLM", {**TINY, "sliding_window": 6}),
    entry("gemma", "GemmaForCausalLM", {**TINY, "head_dim": 8}, mask=True),
    entry("opt", "OPTForCausalLM",
          {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "num_hidden_layers": LAYERS,
           "num_attention_heads": HEADS, "ffn_dim": 64, "max_position_embeddings": 64, "use_cache": False}, mask=True),
    entry("phi", "PhiForCausalLM", TINY),
    entry("bloom", "BloomForCausalLM",
          {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "use_cache": False}, mask=True),
    entry("falcon", "FalconForCausalLM",
          {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
           "use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}),
    entry("mixtral", "MixtralForCausalLM",
          {**TINY, "num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "batched_mm"}),
)  # fmt: skip
