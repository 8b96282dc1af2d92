"""Runs a build's artifacts as users will: ONNX Runtime on the .onnx, TensorFlow on the SavedModel on disk."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundler.errors import ParityError, first_message_line
from bundler.values.arrays import Array

EXACT_INTEGERS = ("session.x64quantprecision", "1")
"""On CPUs without VNNI, ONNX Runtime's products of uint8 and int8 overflow in int16 unless told not to."""

_UNKNOWN = re.compile(r"(?P<op>[\w.:]+)\(-?\d+\) is not a registered function/op")
"""Of a domain that is neither ONNX's nor ONNX Runtime's own: an operator of the user's, for which there is a handler."""


class CannotLoadError(ParityError):
    """The runtime has no kernel for an operator or type of the model: nothing can be said of its answers."""


def onnx_runtime_errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime; they share no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = (getattr(state, name) for name in dir(state))
    return tuple(e for e in found if isinstance(e, type) and issubclass(e, Exception))


class OnnxModel:
    """An .onnx file in ONNX Runtime on the CPU.

    Args:
        path: the file; external data stands beside it.
        optimize: False runs the nodes as written, without ONNX Runtime's own fusions.
        every_value: give each intermediate value of the top graph as an output too.

    Raises:
        CannotLoadError: ONNX Runtime lacks a kernel or a type.
        ParityError: it refuses the model for another reason.
    """

    def __init__(self, path: Path, *, optimize: bool = True, every_value: bool = False) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        self.path = path
        where = str(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(*EXACT_INTEGERS)
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # ValueError: a name that is no UTF-8.
        refusals: tuple[type[Exception], ...] = (*onnx_runtime_errors(), ValueError)
        try:
            self._session = _session(path, options, every_value)
        except state.NotImplemented as exc:
            raise CannotLoadError(f"ONNX Runtime has no kernel: {first_message_line(exc)}.", where=where) from exc
        except refusals as exc:
            unknown = _UNKNOWN.search(str(exc))
            if unknown:
                raise CannotLoadError(f"ONNX Runtime has no kernel for {unknown['op']}.", where=where) from exc
            raise ParityError(f"ONNX Runtime refuses the model: {first_message_line(exc)}.", where=where) from exc
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        if any("bfloat16" in value.type for value in ends):
            raise CannotLoadError("ONNX Runtime's Python interface takes no bfloat16 arrays.", where=where)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Outputs by name; inputs that the graph does not use are left out.

        Raises:
            ParityError: ONNX Runtime stopped.
        """
        feed = {i.name: _for_onnx(inputs[i.name]) for i in self._session.get_inputs() if i.name in inputs}
        names = [output.name for output in self._session.get_outputs()]
        # ValueError: an input is missing from the feed; RuntimeError: a type that its Python interface does not take.
        stops: tuple[type[Exception], ...] = (*onnx_runtime_errors(), ValueError, RuntimeError)
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except stops as exc:
            raise ParityError(f"ONNX Runtime stopped: {first_message_line(exc)}.", where=str(self.path)) from exc


def _session(path: Path, options: Any, every_value: bool) -> Any:
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    if not every_value:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    # Beside the original, so that references to external data hold.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".onnx") as file:
        file.write(_with_every_value(path))
        file.flush()
        return onnxruntime.InferenceSession(file.name, options, providers=providers)


def _with_every_value(path: Path) -> bytes:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    seen = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.output:
            if name and name not in seen:
                seen.add(name)
                graph.output.add(name=name)
    return bytes(model.SerializeToString())


def _for_onnx(array: Array) -> Array:
    return array.astype(object) if array.dtype.kind in "US" else array


def onnx_values(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that the top graph makes, by value name, without ONNX Runtime's own fusions.

    Raises:
        ParityError: ONNX Runtime cannot load or run the model this way.
    """
    values = OnnxModel(path, optimize=False, every_value=True)(inputs)
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
