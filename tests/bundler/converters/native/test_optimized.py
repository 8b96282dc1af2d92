"""A transformer after ONNX Runtime's optimizers, at several batch sizes and lengths; ONNX infers no shapes for its operators."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import torch
from torch import nn

from bundler.converters.native import NativeConverter
from tests.bundler.converters.native.oracle import Array

WORDS, HIDDEN, HEADS, LONGEST = 60, 32, 4, 32
INPUTS = ("ids", "kinds", "mask")


class Layer(nn.Module):
    """Self-attention and two linear layers, written like BERT's."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.wide, self.narrow = nn.Linear(HIDDEN, 2 * HIDDEN), nn.Linear(2 * HIDDEN, HIDDEN)
        self.first_norm, self.second_norm = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], HEADS, -1).permute(0, 2, 1, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(HIDDEN // HEADS)
        seen = torch.matmul(torch.softmax(scores + mask, -1), value).permute(0, 2, 1, 3).contiguous()
        x = self.first_norm(self.out(seen.view(seen.shape[0], seen.shape[1], -1)) + x)
        return self.second_norm(self.narrow(nn.functional.gelu(self.wide(x))) + x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (
            nn.Embedding(WORDS, HIDDEN),
            nn.Embedding(LONGEST, HIDDEN),
            nn.Embedding(2, HIDDEN),
        )
        self.norm = nn.LayerNorm(HIDDEN)
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, ids: torch.Tensor, kinds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(LONGEST)[None][:, : ids.shape[1]]
        x = self.norm(self.words(ids) + self.kinds(kinds) + self.places(places))
        bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        return x  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    axes = {name: {0: "batch", 1: "length"} for name in (*INPUTS, "y")}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        torch.onnx.export(
            Encoder().eval(), tuple(torch.ones(2, 7, dtype=torch.int64) for _ in INPUTS), str(path), dynamo=False,
            input_names=list(INPUTS), output_names=["y"], opset_version=17, dynamic_axes=axes,
        )  # fmt: skip
    return path


def operators(path: Path) -> set[str]:
    """Return the model's operators of ONNX Runtime's domain."""
    return {n.op_type for n in onnx.load(path).graph.node if n.domain == "com.microsoft"}


def draw(batch: int, length: int) -> dict[str, Array]:
    rng = np.random.default_rng(batch)
    mask = np.arange(length) < rng.integers(1, length, (batch, 1), endpoint=True)
    return {
        "ids": rng.integers(0, WORDS, (batch, length)), "kinds": rng.integers(0, 2, (batch, length)),
        "mask": mask.astype(np.int64),
    }  # fmt: skip


def assert_matches(optimized: Path, exported: Path, saved: Path) -> None:
    """Compare the optimized model with the one before optimization, run by ONNX Runtime."""
    NativeConverter().convert({"serving_default": optimized}).save(saved)
    loaded: Any = tf.saved_model.load(str(saved))
    session = onnxruntime.InferenceSession(exported)
    for inputs in (draw(2, 7), draw(3, 11), draw(1, 1)):
        (want,) = session.run(None, inputs)
        got = loaded.signatures["serving_default"](**{k: tf.constant(v) for k, v in inputs.items()})["y"].numpy()
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_model_with_extended_optimizations_keeps_its_results(exported: Path, tmp_path: Path) -> None:
    optimized = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    assert operators(optimized) >= {"BiasGelu", "FusedMatMul"}
    assert_matches(optimized, exported, tmp_path / "1")


def test_a_model_from_the_transformer_optimizer_keeps_its_results(exported: Path, tmp_path: Path) -> None:
    """The offline tool, onnxruntime.transformers, fuses whole attention blocks."""
    from onnxruntime.transformers.optimizer import optimize_model

    optimized = tmp_path / "optimized.onnx"
    model = optimize_model(str(exported), "bert", num_heads=HEADS, hidden_size=HIDDEN, opt_level=0)
    model.save_model_to_file(str(optimized))
    assert operators(optimized) >= {"Attention", "BiasGelu", "EmbedLayerNormalization", "SkipLayerNormalization"}
    assert_matches(optimized, exported, tmp_path / "1")
