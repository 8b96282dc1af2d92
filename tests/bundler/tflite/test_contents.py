"""Operators of a file, and which of them compute in float."""

from __future__ import annotations

import pytest

from bundler.tflite.contents import TfliteOperator, count, flex, names_of

CONV = TfliteOperator("CONV_2D", ("INT8", "INT8", "INT32"), ("INT8",))
FLOAT_CONV = TfliteOperator("CONV_2D", ("FLOAT32", "FLOAT32"), ("FLOAT32",))


@pytest.mark.parametrize(
    ("operator", "is_float"),
    [
        (CONV, False),
        (FLOAT_CONV, True),
        (TfliteOperator("DEQUANTIZE", ("FLOAT16",), ("FLOAT32",)), False),
        (TfliteOperator("ARG_MAX", ("FLOAT32", "INT32"), ("INT64",)), False),
    ],
)
def test_conversions_do_not_compute_in_float(operator: TfliteOperator, is_float: bool) -> None:
    assert operator.is_float == is_float


def test_operators_are_counted_with_the_most_frequent_first() -> None:
    operators = (TfliteOperator("ADD", ("INT8",), ("INT8",)), CONV, FLOAT_CONV)
    assert list(count(operators).items()) == [("CONV_2D", 2), ("ADD", 1)]
    assert count(operators, only_float=True) == {"CONV_2D": 1}


def test_flex_operators_have_tensorflows_names_once() -> None:
    operators = [TfliteOperator(name, (), ()) for name in ("FlexErfinv", "ADD", "FlexDet", "FlexErfinv")]
    assert flex(operators) == ["Det", "Erfinv"]


def test_enumerations_are_read_from_the_schema() -> None:
    assert names_of("TensorType")[0] == "FLOAT32"
