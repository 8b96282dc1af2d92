"""Runs .onnx files in ONNX Runtime and maps its exceptions to those of tfbundle."""

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
"""The session option that prevents int16 overflow in products of uint8 and int8 on CPUs without VNNI."""

_UNREGISTERED = re.compile(r"(?P<op>[\w.:]+)\(-?\d+\) is not a registered function/op")
"""ONNX Runtime's message for an operator of the user's own domain, for which tfbundle has a handler."""


class CannotLoadError(ParityError):
    """The runtime has no kernel for an operator or type of the model, so its answers cannot be compared."""


def onnx_runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes of ONNX Runtime, which have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    members = (getattr(state, name) for name in dir(state))
    return tuple(e for e in members if isinstance(e, type) and issubclass(e, Exception))


class OnnxModel:
    """An .onnx file in ONNX Runtime on the CPU.

    Args:
        path: the file; its external data is in the same folder.
        optimize: whether ONNX Runtime applies its own fusions, or runs the nodes as written.
        all_values: return every intermediate value of the outermost graph as an output too.

    Raises:
        CannotLoadError: ONNX Runtime lacks a kernel or a type.
        ParityError: ONNX Runtime rejects the model for another reason.
    """

    def __init__(self, path: Path, *, optimize: bool = True, all_values: bool = False) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        self.path = path
        where = str(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(*EXACT_INTEGERS)
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # ValueError: a name is not valid UTF-8.
        load_errors: tuple[type[Exception], ...] = (*onnx_runtime_errors(), ValueError)
        try:
            self._session = _session(path, options, all_values)
        except state.NotImplemented as exc:
            raise CannotLoadError(f"ONNX Runtime has no kernel: {first_message_line(exc)}.", where=where) from exc
        except load_errors as exc:
            unregistered = _UNREGISTERED.search(str(exc))
            if unregistered:
                raise CannotLoadError(f"ONNX Runtime has no kernel for {unregistered['op']}.", where=where) from exc
            raise ParityError(f"ONNX Runtime rejects the model: {first_message_line(exc)}.", where=where) from exc
        arguments = (*self._session.get_inputs(), *self._session.get_outputs())
        if any("bfloat16" in value.type for value in arguments):
            raise CannotLoadError("ONNX Runtime's Python interface does not accept bfloat16 arrays.", where=where)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Run the model and return its outputs by name.

        Args:
            inputs: arrays by input name; arrays that the graph does not use are ignored.

        Raises:
            ParityError: ONNX Runtime fails.
        """
        feed = {i.name: _for_onnx(inputs[i.name]) for i in self._session.get_inputs() if i.name in inputs}
        names = [output.name for output in self._session.get_outputs()]
        # ValueError: an input is missing from the feed; RuntimeError: the Python interface does not accept a type.
        run_errors: tuple[type[Exception], ...] = (*onnx_runtime_errors(), ValueError, RuntimeError)
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except run_errors as exc:
            raise ParityError(f"ONNX Runtime failed: {first_message_line(exc)}.", where=str(self.path)) from exc


def _session(path: Path, options: Any, all_values: bool) -> Any:
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    if not all_values:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    # In the folder of the original, so that relative paths of external data stay valid.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".onnx") as file:
        file.write(_with_all_values_as_outputs(path))
        file.flush()
        return onnxruntime.InferenceSession(file.name, options, providers=providers)


def _with_all_values_as_outputs(path: Path) -> bytes:
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
    """Return every tensor that the outermost graph computes, by value name, without ONNX Runtime's own fusions.

    Args:
        path: the file.
        inputs: arrays by input name.

    Raises:
        ParityError: ONNX Runtime cannot load or run the model in this way.
    """
    values = OnnxModel(path, optimize=False, all_values=True)(inputs)
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
