"""Speech: encoders of samples or spectra, and front ends that compute spectra inside the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.zoo.entry import Built, Entry, tokens

FAMILY = "speech and audio"
WHISPER = {
    "vocab_size": 100, "num_mel_bins": 16, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "max_source_positions": 30, "max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "use_cache": False,
}  # fmt: skip
WAV2VEC2 = {
    "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "conv_dim": (16, 16, 16), "conv_stride": (5, 2, 2), "conv_kernel": (10, 3, 2), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


class Whisper(nn.Module):
    """Whisper from log-mel spectra to logits, with encoder and decoder as separate signatures too."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        self.module = WhisperForConditionalGeneration(WhisperConfig(**WHISPER))

    def forward(self, input_features: Tensor, decoder_input_ids: Tensor) -> Tensor:
        return self.decode(self.encode(input_features), decoder_input_ids)

    def encode(self, input_features: Tensor) -> Tensor:
        return self.module.model.encoder(input_features).last_hidden_state

    def decode(self, encoded: Tensor, decoder_input_ids: Tensor) -> Tensor:
        decoder = self.module.model.decoder
        hidden = decoder(input_ids=decoder_input_ids, encoder_hidden_states=encoded, use_cache=False).last_hidden_state
        return self.module.proj_out(hidden)


SIGNATURES: dict[str, dict[str, Any]] = {
    "encode": {"method": "encode", "inputs": ("input_features=float32[batch,16,60]",)},
    "decode": {"method": "decode", "inputs": ("encoded=float32[batch,30,32]", "decoder_input_ids=int64[batch,target]")},
}


def whisper() -> Built:
    inputs = {"input_features": torch.randn(2, 16, 60), "decoder_input_ids": tokens(100, 7)}
    return Whisper(), inputs, {"decoder_input_ids": {1: "target"}}


def samples(model: str, config: str, **settings: Any) -> Built:
    """Build a model of transformers for audio samples of any length."""
    import transformers

    module = getattr(transformers, model)(getattr(transformers, config)(**settings))
    return module, {"input_values": torch.randn(2, 800)}, {"input_values": {1: "time"}}


def wav2vec2() -> Built:
    return samples("Wav2Vec2ForCTC", "Wav2Vec2Config", **WAV2VEC2)


def hubert() -> Built:
    return samples("HubertForSequenceClassification", "HubertConfig", **WAV2VEC2, feat_extract_norm="layer",
                   do_stable_layer_norm=True)  # fmt: skip


def spectrogram_transformer() -> Built:
    import transformers

    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_length=48, num_mel_bins=32
    )
    return transformers.ASTForAudioClassification(config), {"input_values": torch.randn(2, 48, 32)}, {}


def mel_filters(bands: int, bins: int, rate: int) -> Tensor:
    """Return triangular filters of equal width on the mel scale (O'Shaughnessy's formula), [bins, bands]."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = np.linspace(0, rate / 2, bins)[:, None]
    rising = (hertz - edges[:-2]) / np.diff(edges[:-1])
    falling = (edges[2:] - hertz) / np.diff(edges[1:])
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


class LogMel(nn.Module):
    """A log-mel spectrogram of samples: short-time Fourier transform, power, mel filters, logarithm, normalized per row."""

    def __init__(self, size: int = 128, hop: int = 64, bands: int = 20, rate: int = 8000) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("filters", mel_filters(bands, size // 2 + 1, rate))

    def forward(self, audio: Tensor) -> Tensor:
        spectrum = torch.stft(audio, self.size, self.hop, window=self.window, center=True, return_complex=True)
        parts = torch.view_as_real(spectrum)
        power = parts.square().sum(-1).transpose(1, 2)
        bands = torch.log(torch.clamp(power @ self.filters, min=1e-6))
        return (bands - bands.mean(1, keepdim=True)) / (bands.std(1, keepdim=True) + 1e-5)


class Mfcc(nn.Module):
    """Cepstral coefficients of log-mel bands by a cosine transform, and their differences in time."""

    def __init__(self, bands: int = 20, count: int = 12) -> None:
        super().__init__()
        self.bands = LogMel(bands=bands)
        angles = torch.pi / bands * (torch.arange(bands) + 0.5)[:, None] * torch.arange(count)[None]
        self.register_buffer("cosines", torch.cos(angles) * (2 / bands) ** 0.5)

    def forward(self, audio: Tensor) -> Tensor:
        coefficients = self.bands(audio) @ self.cosines
        padded = torch.cat([coefficients[:, :1], coefficients, coefficients[:, -1:]], 1)
        return torch.cat([coefficients, (padded[:, 2:] - padded[:, :-2]) / 2], 2)


class Conformer(nn.Module):
    """A conformer layer with a CTC head: half feed-forwards before and after attention and a gated convolution."""

    def __init__(self, bands: int = 16, width: int = 32, symbols: int = 12) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.project = nn.Linear(8 * bands // 4, width)
        self.first, self.last = _feed(width), _feed(width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.before = nn.LayerNorm(width)
        self.convolution = nn.Sequential(
            nn.Conv1d(width, 2 * width, 1), nn.GLU(1), nn.Conv1d(width, width, 7, padding=3, groups=width),
            nn.BatchNorm1d(width), nn.SiLU(), nn.Conv1d(width, width, 1),
        )  # fmt: skip
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, symbols), nn.LogSoftmax(-1))

    def forward(self, bands: Tensor) -> Tensor:
        x = self.enter(bands[:, None]).transpose(1, 2).flatten(2)
        x = self.project(x)
        x = x + self.first(x) / 2
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.convolution(self.before(x).transpose(1, 2)).transpose(1, 2)
        return self.leave(x + self.last(x) / 2)


def _feed(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))


def log_mel() -> Built:
    return LogMel(), {"audio": torch.randn(2, 640)}, {"audio": {1: "time"}}


def mfcc() -> Built:
    return Mfcc(), {"audio": torch.randn(2, 640)}, {"audio": {1: "time"}}


def conformer() -> Built:
    return Conformer(), {"bands": torch.randn(2, 48, 16)}, {"bands": {1: "time"}}


ENTRIES = (
    Entry("whisper", FAMILY, whisper, saved=True, signatures=SIGNATURES),
    Entry("wav2vec2", FAMILY, wav2vec2, saved=True),
    Entry("hubert", FAMILY, hubert),
    Entry("audio_spectrogram_transformer", FAMILY, spectrogram_transformer),
    Entry("log_mel", FAMILY, log_mel, saved=True),
    Entry("mfcc", FAMILY, mfcc),
    Entry("conformer", FAMILY, conformer),
)
