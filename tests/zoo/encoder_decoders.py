"""Encoder-decoders: text-to-text models of transformers, and recurrent ones defined here."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.entry import Built, Entry, padding_mask, tokens

FAMILY = "encoder-decoders"
VOCABULARY = 100
T5 = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "use_cache": False,
    "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
    "use_cache": False,
}  # fmt: skip


class Logits(nn.Module):
    """The decoder's logits, given the source and the target so far, without the caches that transformers returns too."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        return self.module(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits


def text_to_text(model: str, config: str, settings: dict[str, Any]) -> Built:
    import transformers

    module = getattr(transformers, model)(getattr(transformers, config)(**settings))
    inputs = {"input_ids": tokens(VOCABULARY), "attention_mask": padding_mask(), "decoder_input_ids": tokens(VOCABULARY, 7)}
    return Logits(module), inputs, {"input_ids": {1: "seq"}, "attention_mask": {1: "seq"}, "decoder_input_ids": {1: "target"}}


class Translator(nn.Module):
    """A translator: a bidirectional GRU reads sources of different lengths, and an LSTM with dot attention writes the target."""

    def __init__(self, words: int = 50, width: int = 24) -> None:
        super().__init__()
        self.source = nn.Embedding(words, width)
        self.target = nn.Embedding(words, width)
        self.reader = nn.GRU(width, width // 2, bidirectional=True, batch_first=True)
        self.writer = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.leave = nn.Linear(2 * width, words)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        read, _ = self.reader(self.source(source))
        inside = torch.arange(source.shape[1], device=source.device)[None] < lengths[:, None]
        first = (read * inside[..., None]).sum(1) / lengths[:, None]
        state = first[None].expand(2, -1, -1).contiguous()
        written, _ = self.writer(self.target(target), (state, torch.zeros_like(state)))
        scores = (written @ read.transpose(1, 2)).masked_fill(~inside[:, None], -1e9)
        weights = scores.softmax(-1)
        return self.leave(torch.cat([written, weights @ read], -1)), weights


def translator() -> Built:
    inputs = {"source": tokens(50), "lengths": torch.tensor([12, 6]), "target": tokens(50, 7)}
    return Translator(), inputs, {"source": {1: "seq"}, "target": {1: "target_length"}}


class Transformer(nn.Module):
    """nn.Transformer with causal and padding masks, and fixed sines as positions."""

    def __init__(self, words: int = 50, width: int = 32, longest: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.transformer = nn.Transformer(
            width, 4, 2, 2, 64, activation="gelu", custom_encoder=encoder, batch_first=True, norm_first=True
        )
        self.leave = nn.Linear(width, words)
        angles = torch.arange(longest)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
        self.register_buffer("places", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        padding = source == 0
        written = self.transformer(
            self.words(source) + self.places[: source.shape[1]], self.words(target) + self.places[: target.shape[1]],
            tgt_mask=later, src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_is_causal=True,
        )  # fmt: skip
        return self.leave(written)


def transformer() -> Built:
    inputs = {"source": tokens(50) * padding_mask(), "target": tokens(50, 7)}
    return Transformer(), inputs, {"source": {1: "seq"}, "target": {1: "target_length"}}


ENTRIES = (
    Entry("t5", FAMILY, partial(text_to_text, "T5ForConditionalGeneration", "T5Config", T5), saved=True),
    Entry("bart", FAMILY, partial(text_to_text, "BartForConditionalGeneration", "BartConfig", BART)),
    Entry("gru_lstm_attention", FAMILY, translator, saved=True),
    Entry("nn_transformer", FAMILY, transformer),
)  # fmt: skip
