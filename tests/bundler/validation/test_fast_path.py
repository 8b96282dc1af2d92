"""Builds with `fast_path: int8` and `float16`: one that passes its gate, one that does not, and requests that cannot succeed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import bundler
from bundler.errors import GateError, UsageError, VariantsError
from bundler.operations.smoke import served_golden_files
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite.fast_path import FastPath
from bundler.tflite.gate import Agreement
from bundler.tflite.rejected import RejectedVariant, gate_error
from bundler.validation import fast_path, parity
from bundler.validation.bundle import Bundle
from bundler.validation.fast_path import FastPathBuild
from bundler.validation.lower_precision import GoldenData
from bundler.values.comparison import FAST_PATH, Row
from serving import Client, Server
from serving.golden.compare import Difference
from serving.golden.data import Golden
from serving.smoke.run import run
from tests.bundler.hand_written import exported
from tests.bundler.validation.test_lower_precision import difference

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a convolution, a pooling and a product, with a dynamic batch: class scores, and the class."""
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    make, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    nodes = [
        node("Conv", ["image", "kernel"], ["a"], pads=[1, 1, 1, 1]), node("Relu", ["a"], ["b"]),
        node("GlobalAveragePool", ["b"], ["c"]), node("Flatten", ["c"], ["d"]), node("MatMul", ["d", "head"], ["scores"]),
        node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
    ]  # fmt: skip
    weights = {"kernel": RNG.standard_normal((16, 3, 3, 3)), "head": RNG.standard_normal((16, 5))}
    graph = onnx.helper.make_graph(
        nodes, "net", [make("image", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [make("scores", onnx.TensorProto.FLOAT, ["batch", 5]), make("class", onnx.TensorProto.INT64, ["batch"])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def images(rows: int) -> Any:
    return np.random.default_rng(rows).standard_normal((rows, 3, 8, 8)).astype(np.float32)


def samples(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "samples.npz", **arrays)
    return str(folder / "samples.npz")


@pytest.fixture(scope="module")
def int8(convolution: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("dist")
    calibration = samples(folder, image=images(64))
    return bundler.build(convolution, out=folder / "net", fast_path="int8", calibration=calibration)


def test_int8_file_passes_its_gate_and_is_recorded(int8: Bundle) -> None:
    record = int8.record("net")
    figures = record["fast_path"]
    assert (figures["form"], figures["calibration"]["samples"], figures["delegation"]["partitions"]) == ("int8", 64, 1)
    assert figures["accuracy"]["outputs"]["scores"]["sqnr_db"] > 20
    assert figures["size_bytes"] == int8.layout.fast_path_file("net", 1).stat().st_size
    rows = [row for row in record["parity"]["results"] if row["runtime"] == "tflite-fast-path"]
    assert rows and not any(row["gated"] for row in rows)


def test_int8_file_answers_floats_at_any_batch_and_passes_the_smoke_test(int8: Bundle, convolution: Path) -> None:
    pytorch = onnxruntime.InferenceSession(convolution)
    with Server(int8.path, prefer_tflite=True) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        for rows in (1, 2, 5):
            want = pytorch.run(["scores"], {"image": images(rows)})[0]
            got = client.predict("net", image=images(rows))
            assert (got["scores"].dtype, got["class"].dtype) == (np.float32, np.int64)
            assert Agreement.of(want, got["scores"]).sqnr_db > 20, rows
        report = run(f"127.0.0.1:{server.grpc_port}", served_golden_files(int8), timeout=30)
    assert report.passed and max(check.max_rel or 0 for check in report.checks) > 1e-4


def test_golden_data_have_a_tolerance_for_each_file(int8: Bundle) -> None:
    golden = Golden.load(int8.layout.golden_file("net", 1))
    assert golden.tolerance == 1e-4
    assert golden.served_tolerance == golden.fast_path_tolerance
    assert 0.03 < golden.served_tolerance < 0.5
    assert int8.verify() == []


@pytest.mark.slow
def test_file_below_its_gate_is_left_out_and_the_saved_model_served(tmp_path: Path) -> None:
    path = difference(tmp_path / "difference.onnx")
    data = samples(tmp_path, x=RNG.standard_normal((32, 64)).astype(np.float32))
    with pytest.raises(VariantsError, match="fast path is left out, and the SavedModel is served") as info:
        bundler.build(path, out=tmp_path / "out", fast_path="int8", calibration=data)
    assert info.value.exit_code == 3 and "fast_path: int8" in str(info.value)
    bundle = info.value.bundle
    assert isinstance(bundle, Bundle)
    refused = bundle.record("difference")["fast_path_refused"]
    assert refused["below_gate"] and "min_sqnr requires 15" in refused["reason"]
    assert not bundle.layout.fast_path_file("difference", 1).exists()
    golden = Golden.load(bundle.layout.golden_file("difference", 1))
    assert (golden.tolerance, golden.fast_path_tolerance) == (1e-4, None)
    assert bundle.verify() == []


@pytest.mark.parametrize(
    ("max_rel", "problem", "reason"),
    [
        (0.01, None, "min_sqnr requires 15"),
        (0.01, "NaN or infinity are at other positions than expected", "NaN or infinity"),
        (math.inf, None, "none of its answers equals PyTorch's"),
    ],
)
def test_reason_why_a_file_is_left_out_is_kept_for_the_end_of_the_build(
    max_rel: float, problem: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the gate of variants, an answer that cannot be compared, or that golden data have no case left."""
    rejected = RejectedVariant("int8", gate_error("int8", "its SQNR is 3 dB, and min_sqnr requires 15"))
    row = Row("serving_default", "example", FAST_PATH, Difference("y", max_rel, max_rel, problem), gated=False)

    def write(*arguments: Any) -> FastPath:
        target.touch()
        return FastPath(target, {1: 1.0}, (row,), {})

    target = tmp_path / "model.tflite"
    monkeypatch.setattr(fast_path, "make_resizable", lambda *a, **k: rejected if "min_sqnr" in reason else object())
    monkeypatch.setattr("bundler.tflite.fast_path.build_fast_path", write)
    monkeypatch.setattr("bundler.tflite.fast_path.check_signature", lambda signature: None)
    (reference,) = parity.run_references([exported(tmp_path / "m.onnx")])
    case = replace(reference, cases=reference.cases[:1])
    converted: Any = SimpleNamespace(signatures={"serving_default": None})
    build = FastPathBuild(converted, reference, TfliteSpec(), tmp_path, target, tmp_path / "work", tmp_path)
    outcome = build.make("int8", GoldenData([case], 1e-4, None))
    (error,) = outcome.errors
    assert isinstance(error, GateError) and reason in error.what and "the SavedModel is served" in error.what
    assert outcome.made is None and not target.exists() and outcome.golden.fast_path_tolerance is None
    assert outcome.to_json()["fast_path_refused"]["form"] == "int8"


@pytest.mark.slow
def test_float16_file_has_half_the_size_and_needs_no_calibration(mlp_onnx: Path, tmp_path: Path) -> None:
    bundle = bundler.build(mlp_onnx, out=tmp_path / "out", fast_path="float16")
    figures = bundle.record("mlp")["fast_path"]
    assert figures["form"] == "float16" and figures["accuracy"]["outputs"]["y"]["sqnr_db"] > 50
    golden = Golden.load(bundle.layout.golden_file("mlp", 1))
    assert golden.fast_path_tolerance is not None and 0.0039 <= golden.fast_path_tolerance < 0.02
    assert bundle.verify() == []


def test_int8_without_calibration_data_is_refused_before_any_work(mlp_onnx: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    with pytest.raises(UsageError, match="needs calibration data") as info:
        bundler.build(mlp_onnx, out=tmp_path / "out", fast_path="int8", progress=events.append)
    assert info.value.code == "TFB4001" and not events
