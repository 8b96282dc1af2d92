"""Nodes whose operands have a dtype that ONNX does not allow compute in a wider one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from bundler.converters import load_converter
from bundler.graph.load import from_proto
from bundler.graph.wider_dtypes import WidenOperands
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import native
from tests.bundler.exporting import export_module

BOOLS = np.array([[False, False, True, True], [False, True, False, True]])


def widened(text: str) -> tuple[bool, onnx.ModelProto]:
    model = from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\nwider {text}'))
    result = WidenOperands()(model)
    return result.modified, ir.to_proto(result.model)


def answers(model: onnx.ModelProto, **inputs: Array) -> list[Any]:
    onnx.checker.check_model(model, full_check=True)
    return list(onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs))


@pytest.mark.parametrize(("operator", "combine"), [("Add", np.logical_or), ("Mul", np.logical_and)])
def test_sum_and_product_of_booleans_are_or_and_and(operator: str, combine: Any) -> None:
    modified, model = widened(f"(bool[n] a, bool[n] b) => (bool[n] y) {{ y = {operator}(a, b) }}")
    assert modified
    (got,) = answers(model, a=BOOLS[0], b=BOOLS[1])
    assert got.dtype == np.bool_
    np.testing.assert_array_equal(got, combine(*BOOLS))


def test_int64_is_convolved_in_float64() -> None:
    modified, model = widened("(int64[1,1,3] x, int64[1,1,2] w) => (int64[1,1,2] y) { y = Conv(x, w) }")
    assert modified
    x, w = np.array([[[1, 2, 2**40]]]), np.array([[[3, -1]]])
    got = native(model)(x=x, w=w)["y"].numpy()  # ONNX Runtime has no Conv of float64
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, [[[1, 6 - 2**40]]])


def test_outputs_of_other_type_variables_are_not_cast() -> None:
    _, model = widened(
        "(bool[n,4] x) => (bool[n,4] y, int64[n,4] i) <int64[1] k = {4}> { y, i = TopK(x, k) }"
    )
    values, indices = answers(model, x=BOOLS)
    assert (values.dtype, indices.dtype) == (np.bool_, np.int64)
    np.testing.assert_array_equal(values, [[True, True, False, False]] * 2)
    np.testing.assert_array_equal(indices, [[2, 3, 0, 1], [1, 3, 0, 2]])


def test_an_integer_beside_a_float_becomes_that_float() -> None:
    modified, model = widened("(float16[n] a, int64[n] b) => (float16[n] y) { y = Div(a, b) }")
    assert modified
    (got,) = answers(model, a=np.array([1, 3], np.float16), b=np.array([2, 4]))
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, np.array([0.5, 0.75], np.float16))


@pytest.mark.parametrize(
    "text",
    [
        "(float[n] a, float[n] b) => (float[n] y) { y = Add(a, b) }",
        "(bool[n] a, bool[n] b) => (bool[n] y) { y = Or(a, b) }",
        "(string[n] a, string[n] b) => (string[n] y) { y = Add(a, b) }",
        "(int64[n] a) => (int64[n] y) { y = Exp(a) }",
    ],
)
def test_a_node_that_onnx_defines_or_that_has_no_wider_dtype_is_left_as_it_is(text: str) -> None:
    assert not widened(text)[0]


class OfBooleans(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Any:
        return {"or": a + b, "and": a * b, "sorted": torch.msort(a), "finite": torch.isfinite(b)}


def test_pytorchs_arithmetic_with_booleans_is_converted(tmp_path: Path) -> None:
    a, b = (torch.from_numpy(BOOLS.copy()).T.contiguous() for _ in range(2))
    specs = ("a=bool[n,2]", "b=bool[n,2]")
    exported = export_module(OfBooleans(), tmp_path, (a, b.flip(1)), specs)[0]
    inputs = {"a": a.numpy(), "b": b.flip(1).numpy()}
    want = exported.reference(inputs)
    got = load_converter("native").convert({exported.name: exported.onnx}).run(exported.name, inputs)
    for name, array in want.items():
        assert got[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(got[name].numpy(), array)


def test_sequences_of_bfloat16_are_left_as_they_are() -> None:
    modified, _ = widened(
        "(bfloat16[n] a, bfloat16[n] b) => (bfloat16[m] y) "
        "{ s = SequenceConstruct(a, b) y = ConcatFromSequence<axis = 0>(s) }"
    )
    assert not modified


def test_an_operand_without_a_declared_dtype_is_cast_with_the_others() -> None:
    modified, model = widened("(bool[n] a, float[1] one) => (bool[n] y) { c = CastLike(one, a) y = Mul(c, a) }")
    assert modified
    (got,) = answers(model, a=BOOLS[0], one=np.ones(1, np.float32))
    np.testing.assert_array_equal(got, BOOLS[0])
