"""Custom PyTorch operators: how the export writes them, and builds with handlers for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import bundler
from bundler.errors import ExportError, ParityError
from bundler.export.stage import export
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec

LIBRARY = torch.library.Library("tfbundle_test", "DEF")
LIBRARY.define("mixed(Tensor x, Tensor? bias, float a, int[] b, *, bool c=True, str? d=None) -> Tensor")
LIBRARY.define("halves(Tensor x) -> (Tensor, Tensor)")
LIBRARY.define("total(Tensor[] xs, float scale=1.0) -> Tensor")
LIBRARY.define("repeat(Tensor x, SymInt times) -> Tensor")
LIBRARY.define("lowered(Tensor x, ScalarType? dtype=None) -> Tensor")
LIBRARY.define("scaled(Tensor x) -> Tensor")
LIBRARY.define("scaled.by(Tensor x, float k) -> Tensor")


def implement(name: str, function: Any) -> None:
    LIBRARY.impl(name, function, "CompositeExplicitAutograd")


implement("mixed", lambda x, bias, a, b, c=True, d=None: x * a + (0 if bias is None else bias) + sum(b))
implement("halves", lambda x: (x[..., :2].clone(), x[..., 2:].clone()))
implement("total", lambda xs, scale=1.0: torch.stack(list(xs)).sum(0) * scale)
implement("repeat", lambda x, times: x * times)
implement("lowered", lambda x, dtype=None: x.to(dtype or x.dtype))
implement("scaled", lambda x: x * 2)
implement("scaled.by", lambda x, k: x * k)

OPS: Any = torch.ops.tfbundle_test


class Calls(nn.Module):
    """A module whose forward is a given function."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Any:
        return self.call(x)


def exported(call: Any, names: Mapping[str, tuple[str, str]], folder: Path) -> list[ir.Node]:
    """Return the nodes of the domain `mylib` that the export writes for a call."""
    inputs = ("x=float32[batch,4]",)
    loaded = from_module(Calls(call), examples=torch.ones(2, 4), inputs=[TensorSpec.parse(text) for text in inputs])
    model = ModelSpec(name="m", source="m.py:make", inputs=inputs)
    (one,) = export(loaded, model, folder, translations=names)
    return [node for node in ir.load(one.onnx).graph if node.domain == "mylib"]


def attributes(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


@pytest.mark.compat
def test_tensors_become_inputs_and_other_arguments_attributes(tmp_path: Path) -> None:
    names = {"tfbundle_test::mixed": ("mylib", "Mixed")}
    first, second = exported(
        lambda x: OPS.mixed(OPS.mixed(x, x, 1.5, [1, 2], d="text"), None, 2.0, [3], c=False), names, tmp_path
    )
    assert (first.op_type, [value.name for value in first.inputs if value]) == ("Mixed", ["x", "x"])
    assert attributes(first) == {"a": 1.5, "b": (1, 2), "c": 1, "d": "text"}
    assert len(second.inputs) == 1, "an omitted tensor at the end is not an input"
    assert attributes(second) == {"a": 2.0, "b": (3,), "c": 0}
    assert str(first.outputs[0].shape) == "[batch,4]"
    assert first.outputs[0].dtype == ir.DataType.FLOAT


def test_several_outputs_and_lists_of_tensors_are_supported(tmp_path: Path) -> None:
    names = {"tfbundle_test::halves": ("mylib", "Halves"), "tfbundle_test::total": ("mylib", "Total")}
    halves, total = exported(lambda x: OPS.total(list(OPS.halves(x))), names, tmp_path)
    assert [str(value.shape) for value in halves.outputs] == ["[batch,2]", "[batch,2]"]
    assert list(total.inputs) == list(halves.outputs)
    assert attributes(total) == {"scale": 1.0}, "the default of the operator's schema"


@pytest.mark.slow
def test_a_handler_can_name_one_overload(tmp_path: Path) -> None:
    both = {"tfbundle_test::scaled": ("mylib", "Scaled")}
    assert len(exported(lambda x: OPS.scaled(OPS.scaled(x, 3.0)), both, tmp_path)) == 2
    one = {"tfbundle_test::scaled.by": ("mylib", "ScaledBy")}
    (node,) = exported(lambda x: OPS.scaled(x, 3.0), one, tmp_path)
    assert (node.op_type, attributes(node)) == ("ScaledBy", {"k": 3.0})


def test_unknown_operators_are_skipped(tmp_path: Path) -> None:
    assert exported(lambda x: x + 1, {"tfbundle_test::nothing": ("mylib", "A"), "no::such": ("mylib", "B")}, tmp_path) == []


@pytest.mark.slow
def test_a_dynamic_size_cannot_be_an_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"tfbundle_test::repeat": ("mylib", "Repeat")}
    (node,) = exported(lambda x: OPS.repeat(x, x.shape[1]), names, tmp_path)
    assert attributes(node) == {"times": 4}
    with pytest.raises(ExportError, match="'times' of tfbundle_test::repeat depends on a dynamic size"):
        exported(lambda x: OPS.repeat(x, x.shape[0]), names, tmp_path)


@pytest.mark.slow
def test_a_dtype_becomes_its_number_in_onnx(tmp_path: Path) -> None:
    (node,) = exported(
        lambda x: OPS.lowered(x, torch.float16), {"tfbundle_test::lowered": ("mylib", "Lowered")}, tmp_path
    )
    assert attributes(node) == {"dtype": int(ir.DataType.FLOAT16)}


HANDLER = """
import tensorflow as tf
from bundler.ops import op

@op("Mixed", domain="mylib", torch="tfbundle_test::mixed")
def mixed(x, bias=None, *, a, b, c=1, d=""):
    return x * a{wrong} + sum(b) + (0.0 if bias is None else bias)
"""


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    path = tmp_path / "mixed_ops.py"
    path.write_text(HANDLER.format(wrong=""))
    return path


def model() -> nn.Module:
    return Calls(lambda x: OPS.mixed(x, None, 2.0, [1, 2]).relu())


def test_a_build_checks_the_handler_and_names_the_runtime_that_was_not_compared(handlers: Path, tmp_path: Path) -> None:
    bundle = bundler.build(model(), torch.ones(2, 4), tmp_path / "x", name="net", ops=handlers)
    record = bundle.record("net")
    assert {line["runtime"] for line in record["parity"]["summary"]} == {"saved_model"}
    reason = "not compared with ONNX Runtime: ONNX Runtime has no kernel for mylib:Mixed. PyTorch alone decided."
    assert bundle.notices == (f"net, serving_default: {reason}",)
    assert record["parity"]["left_out"] == [f"serving_default: {reason}"]
    (file,) = record["source"]["ops"]
    assert file["file"] == "mixed_ops.py"
    assert len(file["sha256"]) == 64
    assert json.loads((tmp_path / "x" / "bundle.json").read_text())["spec"]["models"][0]["ops"] == [handlers.name]
    assert bundle.verify() == []


@pytest.mark.slow
def test_a_wrong_handler_is_named_as_the_first_suspect(handlers: Path, tmp_path: Path) -> None:
    handlers.write_text(HANDLER.format(wrong=" * 1.01"))
    with pytest.raises(ParityError) as caught:
        bundler.build(model(), torch.ones(2, 4), tmp_path / "x", name="net", ops=handlers)
    assert "ONNX Runtime has no kernel for mylib:Mixed." in str(caught.value.where)
    assert f"look first at mixed_ops.py:mixed ({handlers}:5)" in str(caught.value.where)
    assert not (tmp_path / "x" / "bundle.json").exists()


def test_a_handler_can_take_over_an_operator_of_torch_itself(tmp_path: Path) -> None:
    """torch cannot export erfinv."""
    path = tmp_path / "erfinv_ops.py"
    path.write_text(
        "import tensorflow as tf\nfrom bundler.ops import op\n"
        "@op('Erfinv', domain='mylib', torch='aten::erfinv')\ndef erfinv(x):\n    return tf.math.erfinv(x)\n"
    )
    x = torch.linspace(-0.9, 0.9, 8).reshape(2, 4)
    bundle = bundler.build(Calls(torch.erfinv), x, tmp_path / "x", name="net", ops=path, tolerance=1e-3)
    assert np.isfinite(max(line["max_rel"] for line in bundle.record("net")["parity"]["summary"]))
