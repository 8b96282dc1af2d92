"""Registration of handlers: its errors, and which handler a model's opset selects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bundler.converters.native import registry
from bundler.converters.native.registry import AxisPolicy, find, op, registered


@pytest.fixture
def domain() -> Iterator[str]:
    """A domain whose handlers are removed after the test."""
    name = "test.registry"
    yield name
    for key in [k for k in registry._handlers if k[0] == name]:
        del registry._handlers[key]


def test_a_second_handler_for_the_same_opset_is_an_error(domain: str) -> None:
    op("Twice", domain=domain)(lambda x: x)
    with pytest.raises(ValueError, match="Twice already has a handler since opset 1"):
        op("Twice", domain=domain)(lambda x: x)


def test_static_must_name_an_input(domain: str) -> None:
    with pytest.raises(ValueError, match="static names"):
        op("Odd", domain=domain, static=("missing",))(lambda x: x)


def test_the_newest_handler_up_to_the_models_opset_is_used(domain: str) -> None:
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


def test_handlers_take_only_attributes_that_onnx_defines() -> None:
    """A misspelt attribute would never be set. All versions of ONNX's schemas, and ONNX Runtime's, are the reference."""
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


