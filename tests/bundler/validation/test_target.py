"""Whether a release of TensorFlow Serving can serve a bundle's models, as inspect --target and a build say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bundler
from bundler.bundle.layout import BundleLayout
from bundler.errors import UsageError, VerifyError
from bundler.operations.inspect import inspect_target
from bundler.saved_model.missing import Fit, Lack
from bundler.saved_model.releases import read_release
from bundler.validation.target import TargetFit, image_notices
from tests.bundler.cli.commands import run

OPS = """
import tensorflow as tf
from bundler.ops import op

@op("MatMul", override=True)
def columns(x, y):
    return tf.raw_ops.GatherV2(params=tf.matmul(x, y), indices=tf.constant([0, 1], tf.int16), axis=1)
"""
"""TensorFlow 2.12 has no kernel for GatherV2 with int16 indices ("No OpKernel was registered"); 2.13 has one."""

LACK = "GatherV2 has no CPU kernel for Tindices = int16, Tparams = float32 (node score/GatherV2, layer head)"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bundler.Bundle:
    """A bundle for TensorFlow Serving 2.12, whose model needs 2.13."""
    folder = tmp_path_factory.mktemp("newer")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "head.weight"], ["y"], "score")],
        "newer",
        [value("x", TensorProto.FLOAT, ["batch", 3])],
        [value("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.ones((3, 2), np.float32), "head.weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(folder / "net.onnx"))
    (folder / "ops.py").write_text(OPS)
    (folder / "bundle.yaml").write_text(
        "models: [{name: newer, source: net.onnx, ops: [ops.py]}]\ndocker: {tag: 2.12.1-gpu}\n"
    )
    return bundler.build(folder / "bundle.yaml", out=folder / "bundle")


def test_a_build_warns_if_the_pinned_image_lacks_something(bundle: bundler.Bundle) -> None:
    assert bundle.notices == (
        "newer: TensorFlow Serving 2.12, the server of docker.tag 2.12.1-gpu, cannot serve all of this model: "
        f"{LACK}. For the list: tfbundle inspect --target tensorflow-serving==2.12",
    )


def test_inspect_names_what_the_target_lacks_with_node_and_layer(bundle: bundler.Bundle) -> None:
    printed = run("inspect", bundle.path, "--target", "tensorflow-serving==2.12", code=1).stdout
    assert printed.splitlines()[:3] == ["newer/1 in TensorFlow Serving 2.12: no", "  serving_default: no", f"    {LACK}"]
    assert "The warm-up requests in the SavedModel fail too" in printed
    printed = run("inspect", bundle.path, "--target", "tensorflow-serving==2.13").stdout
    assert printed == "newer/1 in TensorFlow Serving 2.13: yes\n  serving_default: yes\n"


def test_inspect_prints_the_verdict_as_json(bundle: bundler.Bundle) -> None:
    printed = json.loads(run("inspect", bundle.path, "--target", "tensorflow-serving==2.12", "--json", code=1).stdout)
    model = printed["models"]["newer/1"]
    assert (printed["fits"], model["fits"], model["loads"]) == (False, False, False)
    assert model["signatures"] == {"serving_default": False}
    assert model["lacks"] == [
        {
            "op": "GatherV2",
            "what": "has no CPU kernel for Tindices = int16, Tparams = float32",
            "effect": "call",
            "nodes": ["score/GatherV2"],
            "signatures": ["serving_default"],
            "layers": ["head"],
        }
    ]


def test_a_bare_saved_model_can_be_inspected_too(bundle: bundler.Bundle) -> None:
    folder = bundle.layout.version_dir("newer", 1)
    (fit,) = inspect_target(folder, "tensorflow-serving==2.12").values()
    assert [fit.sentence(lack) for lack in fit.fit.lacks] == [LACK.replace(", layer head", "")]


def test_a_damaged_onnx_file_costs_only_the_names_of_the_layers(bundle: bundler.Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "copy")
    BundleLayout(tmp_path / "copy").onnx_file("newer", 1).write_bytes(b"\xff\xff")
    fit = inspect_target(tmp_path / "copy", "tensorflow-serving==2.12")["newer/1"]
    assert fit.sentence(fit.fit.lacks[0]) == LACK.replace(", layer head", "")


def test_bad_input_is_one_message(bundle: bundler.Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"works with a bundle or a SavedModel folder; .*1\.onnx is an \.onnx file"):
        inspect_target(bundle.layout.onnx_file("newer", 1), "tensorflow-serving==2.12")
    shown = run("inspect", bundle.path, "--target", "tensorflow-serving==2.99", code=2).stderr
    assert "no operators are recorded for TensorFlow Serving 2.99" in shown
    assert "from 2.12 to 2.21" in " ".join(shown.split())
    shutil.copytree(bundle.path, tmp_path / "copy")
    (BundleLayout(tmp_path / "copy").version_dir("newer", 1) / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(VerifyError, match="newer/1 has no SavedModel that can be read"):
        inspect_target(tmp_path / "copy", "tensorflow-serving==2.12")


def test_only_the_signatures_that_lack_something_say_no() -> None:
    lack = Lack("DecodeWebP", "is not registered", "call", ("a/DecodeWebP", "b/DecodeWebP", "c"), ("image",))
    early = Lack("", "the graph needs GraphDef version 9999; the release reads up to 1482", "load")
    modules = {"a": ("stem",), "b": ("body.0", "body")}
    fit = TargetFit(read_release("2.13"), Fit(("image", "rows"), (lack,), False), modules)
    sentence = "DecodeWebP is not registered (node a/DecodeWebP and 2 more nodes, layer stem, body.0)"
    assert list(fit.lines()) == ["image: no", f"  {sentence}", "rows: yes"]
    fit = TargetFit(read_release("2.13"), Fit(("rows",), (early,), False), modules)
    assert list(fit.lines()) == ["rows: no, because the model does not load", "loading: no", f"  {early.what}"]


@pytest.mark.parametrize(
    ("docker", "notice"),
    [
        ({"tag": "2.13.1"}, None),
        ({"tag": "2.21.0-gpu"}, None),
        ({"tag": "latest"}, "docker.tag 'latest' does not name a release of TensorFlow Serving"),
        ({"tag": "nightly", "digest": "sha256:" + 64 * "0"}, "docker.tag 'nightly' does not name a release"),
        ({"tag": "2.9.0"}, "docker.tag '2.9.0' is none of the releases 2.12 to 2.21 that tfbundle knows"),
        ({"image": "registry.example/tensorflow/serving", "tag": "latest"}, "docker.tag 'latest' does not name a release"),
        ({"image": "registry.example/my-server", "tag": "1.4"}, None),
    ],
)
def test_a_tag_without_a_known_release_is_said_to_be_unchecked(
    bundle: bundler.Bundle, docker: dict[str, str], notice: str | None
) -> None:
    notices = image_notices(docker, bundle.layout, {"newer": 1})
    assert len(notices) == (notice is not None)
    assert notice is None or notices[0].startswith(notice)
