"""Runs a case through the engine: normalise, lower, run as a graph, and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import tensorflow as tf

from bundler.converters.native.lowering import Lowering
from bundler.converters.native.model import NativeModel
from bundler.converters.native.sequence import EmptyOptional, SequenceValue, flatten, structure
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError
from bundler.graph.load import from_proto
from bundler.graph.normalize import normalize
from tests.conformance.cases import fed_inputs


def run(case: Any, saved: Path | None = None) -> list[list[Any]]:
    """Return the outputs of each data set: arrays, lists of arrays for sequences, None for an empty optional.

    Args:
        case: the case.
        saved: a folder. If given, the model is written there, loaded and run.
    """
    model = normalize(from_proto(case.model))
    data_sets = [_by_name(fed_inputs(case.model.graph), inputs) for inputs, _ in case.data_sets]
    if not _is_servable(case.model.graph):
        return [_run_any(model, inputs) for inputs in data_sets]
    function = _function(NativeModel({"serving_default": model}), saved)
    results = [function(inputs) for inputs in data_sets]
    return [[_numpy(outputs[o.name]) for o in case.model.graph.output] for outputs in results]


def _function(native: NativeModel, saved: Path | None) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    """Return a function from arrays by input name to tensors by output name; it runs from the folder `saved` if given."""
    if saved is None:
        return lambda inputs: native(**inputs)
    native.save(saved)
    loaded = tf.saved_model.load(str(saved))

    def call(inputs: dict[str, Any]) -> Mapping[str, Any]:
        tensors = {s.name: tf.convert_to_tensor(inputs[s.name], tf.as_dtype(s.dtype)) for s in native.signature.inputs}
        results: Mapping[str, Any] = loaded.signatures["serving_default"](**tensors)
        return results

    return call


def _numpy(tensor: Any) -> Any:
    """Return the tensor as an array; a string scalar is bytes in TensorFlow."""
    array = tensor.numpy()
    return np.array(array, object) if isinstance(array, bytes) else array


def _by_name(declared: Sequence[onnx.ValueInfoProto], values: Sequence[Any]) -> dict[str, Any]:
    return {d.name: _plain(v) for d, v in zip(declared, values, strict=False)}


def _plain(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _is_servable(graph: onnx.GraphProto) -> bool:
    """Whether a signature can hold the graph: its inputs and outputs are tensors, not sequences or optionals."""
    return all(v.type.WhichOneof("value") == "tensor_type" for v in (*graph.input, *graph.output))


def _run_any(model: Any, inputs: Mapping[str, Any]) -> list[Any]:
    """Run a graph with sequences or optionals; its arguments are the tensors that these hold in the data."""

    def function(arguments: Any) -> list[Any]:
        store = WeightStore(constants_only=True)
        values = {name: _as_value(argument, store) for name, argument in arguments.items()}
        results = Lowering(model.graph, store, opset=model.opset_imports.get("", 1)).run(values)
        kinds[:] = [structure(value) for value in results]
        return [tensor for value in results for tensor in flatten(value)]

    kinds: list[Any] = []
    tensors = {name: tf.nest.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), value)
               for name, value in inputs.items()}  # fmt: skip
    flat = [_numpy(t) for t in tf.function(function, autograph=False)(tensors)]
    return [_unflatten(kind, flat) for kind in kinds]


def _as_value(argument: Any, store: WeightStore) -> Value:
    if argument is None:
        return EmptyOptional(store)
    if isinstance(argument, (list, tuple)):
        return SequenceValue([_as_value(a, store) for a in argument], store)
    return Value.of(argument, store)


def _unflatten(kind: Any, flat: list[Any]) -> Any:
    if isinstance(kind, list):
        return [_unflatten(k, flat) for k in kind]
    return None if kind is None else flat.pop(0)


def assert_equal(actual: Any, expected: Any, *, rtol: float, atol: float) -> None:
    """Compare dtype, shape and values.

    Raises:
        AssertionError: they differ.
    """
    if expected is None or isinstance(expected, list):
        _assert_equal_structure(actual, expected, rtol=rtol, atol=atol)
        return
    expected = np.asarray(expected)
    if expected.dtype.kind in "OUS":
        assert actual.dtype.kind in "OUS", f"dtype {actual.dtype}, expected strings"
        texts = np.array([a.decode() if isinstance(a, bytes) else str(a) for a in actual.reshape(-1)], object)
        assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
        assert list(texts) == [str(e) for e in expected.reshape(-1)], f"{texts}, expected {expected}"
        return
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind in "biu" or expected.size == 0:
        np.testing.assert_array_equal(actual, expected)
        return
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(actual.astype(wide), expected.astype(wide), rtol=rtol, atol=atol)


def _assert_equal_structure(actual: Any, expected: Any, *, rtol: float, atol: float) -> None:
    if expected is None:
        assert actual is None, f"{actual}, expected an empty optional"
        return
    assert isinstance(actual, list), f"{type(actual).__name__}, expected a sequence"
    assert len(actual) == len(expected), f"{len(actual)} elements, expected {len(expected)}"
    for a, e in zip(actual, expected, strict=True):
        assert_equal(a, e, rtol=rtol, atol=atol)


def assert_passes(case: Any, saved: Path | None = None) -> None:
    """Run a case and compare all its outputs.

    Raises:
        AssertionError: an output differs.
        ConversionError: the model is rejected.
    """
    for actual, (_, expected) in zip(run(case, saved), case.data_sets, strict=True):
        assert len(actual) == len(expected), f"{len(actual)} outputs, expected {len(expected)}"
        for a, e in zip(actual, map(_plain, expected), strict=True):
            assert_equal(a, e, rtol=case.rtol, atol=case.atol)


def assert_same_kind(case: Any, saved: Path | None = None) -> None:
    """Run a case and compare the dtypes and shapes of its outputs.

    Raises:
        AssertionError: an output has another dtype or shape.
        ConversionError: the model is rejected.
    """
    for actual, (_, expected) in zip(run(case, saved), case.data_sets, strict=True):
        found = [(a.dtype, a.shape) for a in actual]
        assert found == [(e.dtype, e.shape) for e in map(_plain, expected)]


def outcome(case: Any, saved: Path | None = None) -> str | None:
    """Return why a case fails, or None if it passes."""
    try:
        assert_passes(case, saved)
    except (AssertionError, ConversionError, tf.errors.OpError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return None
