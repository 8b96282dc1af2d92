"""The variant int4: its error, its gate, the layers that stay int8, and its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import nn

import bundler
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite import Outcome, make_variants
from bundler.tflite.contents import operators_of
from bundler.tflite.int4 import Calls, Int4
from bundler.tflite.leading import AIM_DB
from bundler.tflite.mix import decibels
from bundler.tflite.runner import TfliteModel
from bundler.tflite.sensitivity import largest_loss, noise_to_signal, outputs_of
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from tests.bundler.exporting import export_module
from tests.bundler.tflite.floats import converted_file, float_file

VOCABULARY, LENGTH = 200, 12


class Encoder(nn.Module):
    """An embedding, and layers of which the last is hard to quantize.

    Every block of its weights has one that takes the range of all others, and is multiplied with next to nothing.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.last = nn.Linear(width, width)
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(3)), self.last)
        self.head = nn.Linear(width, 16)
        with torch.no_grad():
            self.last.weight[::32] *= 1e-4
            self.last.bias[::32] *= 1e-4
            self.head.weight[:, ::32] += 1.5

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        scores: torch.Tensor = self.head(x)
        return scores


class Dense(nn.Module):
    """Layers whose inputs act together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(96, 128), nn.Linear(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.relu(self.first(x)))
        return y


class Small(nn.Module):
    """A layer with few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y


def calls(count: int, seed: int = 1) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"ids": rng.integers(0, VOCABULARY, (1, LENGTH))} for _ in range(count)]


def dense_calls(count: int, seed: int) -> list[dict[str, Array]]:
    mixing = np.random.default_rng(0).normal(size=(12, 96))
    rng = np.random.default_rng(seed)
    return [{"x": (rng.normal(size=(8, 12)) @ mixing).astype(np.float32)} for _ in range(count)]


def sqnr_db(file: bytes, made: bytes, unseen: Calls, folder: Path) -> float:
    want, got = (outputs_of(each, unseen, folder / "m.tflite") for each in (file, made))
    return decibels(largest_loss(want, got))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ExportedSignature:
    folder = tmp_path_factory.mktemp("encoder")
    (exported,) = export_module(Encoder().eval(), folder, inputs=(f"ids=int64[batch,{LENGTH}]",))
    return exported


@pytest.mark.slow
def test_calibration_reduces_the_error_on_other_data(tmp_path: Path) -> None:
    file = float_file(Dense(), dense_calls(1, 0)[0], tmp_path)
    made = (Int4(file, dense_calls(32, 1), tmp_path / "s.tflite", calibrated=used).file() for used in (False, True))
    plain, calibrated = (sqnr_db(file, each, dense_calls(16, 2), tmp_path) for each in made)
    assert plain > 15
    assert calibrated > plain + 2


@pytest.mark.slow
def test_layer_that_loses_most_is_int8(encoder: ExportedSignature, tmp_path: Path) -> None:
    file = converted_file(encoder, calls(1)[0], tmp_path)
    made = Int4(file, calls(4), tmp_path / "s.tflite", calibrated=False)
    assert [matrix.values.shape for matrix in made.int8] == [(16, 64)]
    only_int4 = sqnr_db(file, made._with(made.matrices, ()), calls(16, seed=2), tmp_path)
    assert only_int4 < AIM_DB
    assert sqnr_db(file, made.file(), calls(16, seed=2), tmp_path) > only_int4 + 3


@pytest.mark.slow
def test_file_without_matrices_is_unchanged(tmp_path: Path) -> None:
    file = float_file(Small(), {"x": np.zeros((1, 8), np.float32)}, tmp_path)
    made = Int4(file, [{"x": np.ones((1, 8), np.float32)}], tmp_path / "s.tflite", calibrated=False)
    assert made.matrices == made.int8 == ()
    assert operators_of(made.file()) == operators_of(file)


def built(exported: ExportedSignature, folder: Path, **keys: Any) -> Outcome:
    spec = TfliteSpec(variants=("int4",), **keys)
    return make_variants(bundler.convert(exported.onnx), exported, spec, folder, "m", base=folder)


def test_variant_is_published_behind_its_gate(encoder: ExportedSignature, tmp_path: Path) -> None:
    np.savez(tmp_path / "ids.npz", ids=np.concatenate([call["ids"] for call in calls(32)]))
    (result,) = built(encoder, tmp_path, calibration="ids.npz").variants
    data = result.to_json()
    (output,) = data["accuracy"]["outputs"].values()
    assert 15 < output["sqnr_db"] < 40
    assert data["calibration"]["samples"] == 32
    assert data["float_ms"] > 0
    assert "GATHER" not in data["operators"]
    assert data["operators"]["EMBEDDING_LOOKUP"] == 1
    assert f"int8 for an SQNR of {AIM_DB:g} dB: head (FULLY_CONNECTED)" in data["notes"]
    assert data["runtime"]["minimum"] == {"litert": "2.1.2", "tflite-runtime": None}
    assert result.size_bytes == result.path.stat().st_size < 30_000


@pytest.mark.slow
def test_variant_below_its_gate_is_rejected_and_leaves_no_file(encoder: ExportedSignature, tmp_path: Path) -> None:
    outcome = built(encoder, tmp_path, min_sqnr=60)
    assert not outcome.variants
    assert "its SQNR against PyTorch is" in outcome.rejected[0].error.what
    assert not list(tmp_path.glob("*.tflite"))


@pytest.mark.slow
def test_older_runtime_is_refused(encoder: ExportedSignature, tmp_path: Path) -> None:
    outcome = built(encoder, tmp_path, target_runtime="litert==1.2")
    assert "litert 1.2.0 cannot run the int4 TFLite file" in outcome.rejected[0].error.what


class Transformer(nn.Module):
    """Layers of attention and two products each, behind an embedding."""

    def __init__(self, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(VOCABULARY * 10, width), nn.Linear(width, 64)
        self.heads = 4
        self.layers = nn.ModuleList(
            nn.ModuleDict({
                "norm": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
                "second": nn.LayerNorm(width), "up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width),
            })
            for _ in range(depth)
        )  # fmt: skip

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            parts = layer["qkv"](layer["norm"](x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
            x = x + layer["out"]((weights @ v).transpose(1, 2).flatten(2))
            x = x + layer["down"](nn.functional.gelu(layer["up"](layer["second"](x))))
        scores: torch.Tensor = self.head(x)
        return scores


@pytest.mark.slow
def test_transformer_is_small_and_alike_in_both_kinds_of_kernels(tmp_path: Path) -> None:
    file = float_file(Transformer(), calls(1)[0], tmp_path)
    made = Int4(file, calls(32), tmp_path / "s.tflite", calibrated=True)
    content = made.file()
    assert {matrix.values.shape for matrix in made.int8} <= {(64, 128)}
    assert len(content) < len(file) / 6
    assert sqnr_db(file, content, calls(16, seed=2), tmp_path) > 18

    plain = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    ).get_signature_runner()
    (tmp_path / "m.tflite").write_bytes(content)
    fast = TfliteModel(tmp_path / "m.tflite")
    for call in calls(4, seed=3):
        (want,) = plain(**call).values()
        (got,) = fast(call).values()
        assert decibels(noise_to_signal(want, got)) > 30  # both quantize the inputs of products, in their own ways
