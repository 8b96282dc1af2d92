"""The onnx-tf converter on convolutional networks from torch's legacy exporter (opset 15)."""

from __future__ import annotations

import gc
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from bundler.converters import onnx_tf_package
from bundler.converters.onnx_tf import OnnxTfConverter, OnnxTfModel
from bundler.errors import ConversionError, MissingExtraError, UsageError
from bundler.process.cache import CACHE_ENV
from tests.models import load_example, seeded
from tests.requirements import require

TOLERANCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def _onnx_tf() -> None:
    require(onnx_tf_package.is_available(), f"onnx-tf ({onnx_tf_package.SETUP})")


class MobileBlock(nn.Module):
    """The parts of mobile networks: depthwise and grouped convolution, squeeze-excite, SiLU, pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardswish())
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4, dilation=1)
        self.squeeze = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.silu(self.expand(self.pool(self.stem(image))))
        x = x + self.grouped(nn.functional.relu(self.depthwise(x)))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        features = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(features), features


Names: TypeAlias = "tuple[list[str], list[str]]"
"""Names of inputs and of outputs."""


def export(
    module: nn.Module, inputs: Sequence[Tensor], path: Path, names: Names, opset: int = 15
) -> Path:
    """Export with torch's legacy exporter; the first axis of all inputs and outputs is dynamic."""
    input_names, output_names = names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter calls itself deprecated
        torch.onnx.export(
            module.eval(), tuple(inputs), str(path), dynamo=False, opset_version=opset, input_names=input_names,
            output_names=output_names, dynamic_axes={name: {0: "batch"} for name in (*input_names, *output_names)},
        )  # fmt: skip
    return path


def export_convolution(folder: Path, opset: int = 15) -> Path:
    """Export a convolution of one weight."""
    names = ["x"], ["y"]
    return export(nn.Conv2d(1, 1, 1), [torch.randn(2, 1, 4, 4)], folder / "conv.onnx", names, opset)


def assert_agrees_with_onnx_runtime(model: OnnxTfModel, path: Path, *arrays: np.ndarray[Any, Any]) -> None:
    session = onnxruntime.InferenceSession(path)
    inputs = {i.name: array for i, array in zip(session.get_inputs(), arrays, strict=True)}
    want = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    got = model(**inputs)
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].numpy().dtype == value.dtype
        assert got[name].numpy().shape == value.shape
        np.testing.assert_allclose(got[name].numpy(), value, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OnnxTfModel]:
    """Convert the block as serving_default, and with its second output only as the signature `embed`."""

    class Embed(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, image: Tensor) -> Tensor:
            return self.block(image)[1]

    folder = tmp_path_factory.mktemp("block")
    with seeded():
        module, image = MobileBlock(), torch.randn(2, 3, 32, 32)
    path = export(module, [image], folder / "block.onnx", (["image"], ["logits", "features"]))
    embed = export(Embed(module), [image], folder / "embed.onnx", (["image"], ["features"]))
    return path, OnnxTfConverter().convert({"serving_default": path, "embed": embed})


def images(batch: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((batch, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_agrees_with_onnx_runtime(block: tuple[Path, OnnxTfModel], batch: int) -> None:
    path, model = block
    assert_agrees_with_onnx_runtime(model, path, images(batch))


def test_the_signature_is_that_of_the_onnx_file(block: tuple[Path, OnnxTfModel]) -> None:
    _, model = block
    signature = model.signatures["serving_default"]
    assert [str(s) for s in signature.inputs] == ["image=float32[batch,3,32,32]"]
    assert [str(s) for s in signature.outputs] == ["logits=float32[batch,10]", "features=float32[batch,16]"]
    assert list(model.signatures) == ["serving_default", "embed"]
    assert model.permutations == {}


def test_the_saved_model_can_be_loaded_without_the_converter(block: tuple[Path, OnnxTfModel], tmp_path: Path) -> None:
    import tensorflow as tf

    _, model = block
    model.save(tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == {"serving_default", "embed"}
    serving = loaded.signatures["serving_default"]
    assert serving.structured_input_signature[1]["image"].shape.as_list() == [None, 3, 32, 32]
    assert {n: t.shape.as_list() for n, t in serving.structured_outputs.items()} == {
        "logits": [None, 10], "features": [None, 16]
    }  # fmt: skip
    array = images(3)
    embedded = loaded.signatures["embed"](image=tf.constant(array))
    assert list(embedded) == ["features"]
    np.testing.assert_allclose(embedded["features"], model(image=array)["features"], TOLERANCE, TOLERANCE)


def test_a_function_of_static_shapes_becomes_tflite(block: tuple[Path, OnnxTfModel]) -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    _, model = block
    function = model.static({"image": (1, 3, 32, 32)})
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()
    runner = Interpreter(model_content=content).get_signature_runner()
    assert runner.get_input_details()["image"]["shape"].tolist() == [1, 3, 32, 32]
    got, want = runner(image=images(1)), model(image=images(1))
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_unet_with_transposed_convolution_and_upsampling(tmp_path: Path) -> None:
    module, inputs = load_example("unet").unet()
    path = export(module, [inputs["image"]], tmp_path / "unet.onnx", (["image"], ["mask"]))
    model = OnnxTfConverter().convert({"serving_default": path})
    for batch in (1, 3):
        array = np.random.default_rng(batch).random((batch, 3, 128, 128), dtype=np.float32)
        assert_agrees_with_onnx_runtime(model, path, array)


@pytest.mark.slow
def test_names_that_tensorflow_would_change_are_kept(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            return x + 2 * y + 3 * z, x * y

    input_names, output_names = ["input.1", "_x:0", "y/z"], ["12th", "out/put.2"]
    path = export(Sum(), [torch.randn(2, 4)] * 3, tmp_path / "sum.onnx", (input_names, output_names))
    model = OnnxTfConverter().convert({"serving_default": path})
    inputs = [np.full((3, 4), value, np.float32) for value in (1, 10, 100)]
    assert_agrees_with_onnx_runtime(model, path, *inputs)
    model.save(tmp_path / "1")
    assert saved_names(tmp_path / "1") == (set(input_names), set(output_names))


def saved_names(folder: Path) -> tuple[set[str], set[str]]:
    """Return the input and output keys of serving_default as TensorFlow Serving reads them."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    definition = saved.meta_graphs[0].signature_def["serving_default"]
    return set(definition.inputs), set(definition.outputs)


@pytest.mark.slow
def test_operators_of_the_stand_ins(tmp_path: Path) -> None:
    """In onnx-tf, Hardmax and Bernoulli need tensorflow_addons and tensorflow_probability."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Hardmax", ["x"], ["hard"], axis=-1),
            helper.make_node("Bernoulli", ["p"], ["drawn"], dtype=TensorProto.FLOAT),
        ],
        "stand_ins",
        [value("x", TensorProto.FLOAT, ["batch", 5]), value("p", TensorProto.FLOAT, [1000, 2])],
        [value("hard", TensorProto.FLOAT, ["batch", 5]), value("drawn", TensorProto.FLOAT, [1000, 2])],
    )
    path = tmp_path / "stand_ins.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    model = OnnxTfConverter().convert({"serving_default": path})
    x = np.array([[0, 3, 1, 2, 3], [5, 4, 3, 2, 1]], np.float32)
    p = np.tile(np.array([[0.2, 0.9]], np.float32), (1000, 1))
    outputs = model(x=x, p=p)
    assert outputs["hard"].numpy().tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert set(np.unique(outputs["drawn"])) == {0.0, 1.0}
    six_standard_deviations = 6 * (0.2 * 0.8 / 1000) ** 0.5
    np.testing.assert_allclose(outputs["drawn"].numpy().mean(0), [0.2, 0.9], atol=six_standard_deviations)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that shows what is not removed."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.slow
def test_temporary_files_are_removed_with_the_model(tmp_path: Path, scratch: Path) -> None:
    path = export_convolution(tmp_path)
    model = OnnxTfConverter().convert({"serving_default": path})
    assert len(list(scratch.iterdir())) == 1
    assert not {"onnx_tf", "tensorflow_addons", "tensorflow_probability", "onnx.mapping"} & set(sys.modules)
    del model
    gc.collect()
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_an_unsupported_operator_is_named_with_its_node(tmp_path: Path, scratch: Path) -> None:
    value = helper.make_tensor_value_info
    node = helper.make_node("Unique", ["x"], ["y"], name="different_ones")
    sides = [value("x", TensorProto.FLOAT, [5])], [value("y", TensorProto.FLOAT, ["n"])]
    path = tmp_path / "m.onnx"
    graph = helper.make_graph([node], "g", *sides)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    with pytest.raises(ConversionError, match="Unique is not implemented") as failure:
        OnnxTfConverter().convert({"serving_default": path})
    assert failure.value.where == "ONNX node Unique 'different_ones'"
    assert "--converter native" in str(failure.value)
    assert list(scratch.iterdir()) == []


class Outer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1) * x.unsqueeze(2)


@pytest.mark.slow
def test_an_operator_with_an_unsupported_newer_form_works_at_an_older_opset(tmp_path: Path) -> None:
    names = ["x"], ["outer"]
    path = export(Outer(), [torch.randn(2, 4)], tmp_path / "15.onnx", names)
    with pytest.raises(ConversionError, match=r"Implement\w*: Unsqueeze version 13 is not implemented") as failure:
        OnnxTfConverter().convert({"serving_default": path})
    assert "--opset 12" in str(failure.value.fix)
    path = export(Outer(), [torch.randn(2, 4)], tmp_path / "12.onnx", names, opset=12)
    model = OnnxTfConverter().convert({"serving_default": path})
    assert_agrees_with_onnx_runtime(model, path, np.ones((3, 4), np.float32))


@pytest.mark.slow
def test_a_crash_of_the_worker_is_reported_and_leaves_no_files(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "onnx_tf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import os, signal, sys\nprint('no memory left', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "no-setup"))
    path = export_convolution(tmp_path)
    with pytest.raises(ConversionError, match=r"SIGKILL\. Its last output: no memory left") as failure:
        OnnxTfConverter().convert({"serving_default": path})
    assert "free memory" in str(failure.value.fix)
    assert list(scratch.iterdir()) == []


def test_a_worker_that_exceeds_the_time_limit_is_stopped(tmp_path: Path, scratch: Path) -> None:
    path = export_convolution(tmp_path)
    with pytest.raises(ConversionError, match=r"did not finish within 0\.2 s"):
        OnnxTfConverter(timeout_s=0.2).convert({"serving_default": path})
    assert list(scratch.iterdir()) == []


def test_an_opset_that_is_too_new_is_rejected_before_the_worker_starts(tmp_path: Path) -> None:
    path = export_convolution(tmp_path, opset=17)
    with pytest.raises(ConversionError, match="opset 15; the signature 'serving_default' has opset 17") as failure:
        OnnxTfConverter().convert({"serving_default": path})
    assert "--opset 15" in str(failure.value.fix)


def test_a_file_that_is_not_onnx_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\xff\xfe not a graph")
    with pytest.raises(ConversionError, match="not an ONNX file"):
        OnnxTfConverter().convert({"serving_default": path})


def test_layout_nhwc_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout 'nhwc'") as failure:
        OnnxTfConverter().convert({"serving_default": tmp_path / "unread.onnx"}, layout="nhwc")
    assert "--converter native" in str(failure.value.fix)


def test_a_missing_package_is_reported_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_tf_package, "is_available", lambda: False)
    with pytest.raises(MissingExtraError) as failure:
        OnnxTfConverter().convert({"serving_default": tmp_path / "unread.onnx"})
    assert failure.value.fix == "tfbundle setup onnx-tf"
