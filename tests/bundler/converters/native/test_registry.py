"""Registering handlers: what is an error, and which handler a model's opset gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.converters.native import registry
from bundler.converters.native.registry import AxisPolicy, find, op, registered
from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import array, model_of, native


@pytest.fixture
def domain() -> Iterator[str]:
    """A domain of its own, whose handlers are gone afterwards."""
    name = "test.registry"
    yield name
    for key in [k for k in registry._handlers if k[0] == name]:
        del registry._handlers[key]


def test_twice_is_an_error(domain: str) -> None:
    op("Twice", domain=domain)(lambda x: x)
    with pytest.raises(ValueError, match="Twice already has a handler since opset 1"):
        op("Twice", domain=domain)(lambda x: x)


def test_static_must_name_an_input(domain: str) -> None:
    with pytest.raises(ValueError, match="static names"):
        op("Odd", domain=domain, static=("missing",))(lambda x: x)


def test_the_newest_handler_that_is_not_too_new(domain: str) -> None:
    def old(x: Any) -> Any:
        return x

    def new(x: Any) -> Any:
        return x

    op("Changed", domain=domain, since=7)(old)
    op("Changed", domain=domain, since=13)(new)
    found = {opset: find("Changed", domain, opset) for opset in (6, 7, 12, 13, 25)}
    assert found[6] is None
    assert [h.function if h else None for h in found.values()] == [None, old, old, new, new]


def test_a_handler_describes_its_inputs_and_attributes() -> None:
    handler = find("LeakyRelu", "", 21)
    assert handler is not None
    assert handler.parameters == ("x",)
    assert handler.attributes == {"alpha"}
    assert handler.layout is AxisPolicy.ELEMENTWISE


def test_every_handler_names_attributes_that_onnx_defines() -> None:
    """A misspelt attribute would never be set; the schemas of all opsets, and ONNX Runtime's, are the dictionary."""
    import onnx
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known: dict[tuple[str, str], set[str]] = {}
    for schema in [*onnx.defs.get_all_schemas_with_history(), *get_all_operator_schema()]:
        known.setdefault((schema.domain, schema.name), set()).update(schema.attributes)
    for handler in registered():
        if handler.domain in ("", "ai.onnx.ml", "com.microsoft"):
            key = (handler.domain, handler.op_type)
            assert key in known, key
            assert handler.attributes <= known[key], key


def test_an_unknown_attribute_is_an_error_of_the_model() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": array(2, 3)}, ["y"])
    model.graph.node[0].attribute.append(helper.make_attribute("slope", 0.5))
    with pytest.raises(ConversionError, match="has the attribute 'slope', which ONNX does not define"):
        native(model)


def test_a_static_input_must_be_constant(domain: str) -> None:
    op("Fixed", domain=domain, static=("k",))(lambda x, k: x)
    nodes = [helper.make_node("Fixed", ["x", "k"], ["y"], domain=domain)]
    inputs = {"x": array(2, 3), "k": np.zeros(1, np.int64)}
    declared = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "g", declared, [helper.make_tensor_value_info("y", 1, [2, 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)])
    with pytest.raises(ConversionError, match="needs its input 'k' to be a constant"):
        native(model)
