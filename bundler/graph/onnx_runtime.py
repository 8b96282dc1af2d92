"""Runs .onnx files in ONNX Runtime and maps its exceptions to those of tfbundle."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundler.errors import ParityError
from bundler.process.causes import cause_of
from bundler.values.arrays import Array

EXACT_INTEGERS = ("session.x64quantprecision", "1")
"""The session option that prevents int16 overflow in products of uint8 and int8 on CPUs without VNNI."""

_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
"""The session option with the folder of external data, for a model that is given as bytes."""

_UNREGISTERED = re.compile(r"(?P<op>[\w.:]+)\(-?\d+\) is not a registered function/op")
"""ONNX Runtime's message for an operator of the user's own domain, for which tfbundle has a handler."""

_SMALL = 1024
"""The most numbers that a shape, or another tensor that shapes are computed from, may have."""

_REPEATED_NAME = "two nodes with same node name"
"""Part of ONNX Runtime's message for nodes that share a name, which ONNX allows (onnx/docs/IR.md, "Nodes": optional names)."""


class CannotLoadError(ParityError):
    """The runtime has no kernel for an operator or type of the model, so its answers cannot be compared."""

    code = "TFB3402"


def onnx_runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes of ONNX Runtime, which have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    members = (getattr(state, name) for name in dir(state))
    return tuple(e for e in members if isinstance(e, type) and issubclass(e, Exception))


class OnnxModel:
    """An .onnx file in ONNX Runtime on the CPU.

    ONNX Runtime rejects nodes of one graph that share a name. It gets a copy of such a model in which the names are numbered;
    messages have the names of the file.

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
        self._renamed: dict[str, str] = {}
        where = str(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(*EXACT_INTEGERS)
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # ValueError: a name is not valid UTF-8.
        load_errors: tuple[type[Exception], ...] = (*onnx_runtime_errors(), ValueError)
        try:
            self._session = self._open(options, all_values)
        except state.NotImplemented as exc:
            raise CannotLoadError(f"ONNX Runtime has no kernel: {self._cause(exc)}.", where=where) from exc
        except load_errors as exc:
            unregistered = _UNREGISTERED.search(str(exc))
            if unregistered:
                raise CannotLoadError(f"ONNX Runtime has no kernel for {unregistered['op']}.", where=where) from exc
            raise ParityError(
                f"ONNX Runtime rejects the model: {self._cause(exc)}.", where=where, code="TFB3402"
            ) from exc
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
            raise ParityError(
                f"ONNX Runtime failed: {self._cause(exc)}.", where=str(self.path), code="TFB3402"
            ) from exc

    def _cause(self, exc: Exception) -> str:
        """Return the cause of an exception, with the names that nodes have in the file."""
        cause = cause_of(exc)
        for copied, original in self._renamed.items():
            cause = cause.replace(f"'{copied}'", f"'{original}'")
        return cause

    def _open(self, options: Any, all_values: bool) -> Any:
        import onnxruntime

        providers = ["CPUExecutionProvider"]
        if all_values:
            model = _load(self.path)
            self._renamed = _number_repeated_names(model)
            _add_all_values(model)
            # In the folder of the original, so that relative paths of external data stay valid.
            with tempfile.NamedTemporaryFile(dir=self.path.parent, suffix=".onnx") as file:
                file.write(model.SerializeToString())
                file.flush()
                return onnxruntime.InferenceSession(file.name, options, providers=providers)
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        except onnx_runtime_errors() as exc:
            if _REPEATED_NAME not in str(exc):
                raise
        model = _load(self.path)
        _include_small_tensors(model, self.path.parent)
        self._renamed = _number_repeated_names(model)
        options.add_session_config_entry(_DATA_FOLDER, str(self.path.resolve().parent))
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def _load(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _include_small_tensors(model: Any, folder: Path) -> None:
    """Read small external tensors, in place: ONNX Runtime infers shapes from them while it loads a model from bytes."""
    from onnx import TensorProto, external_data_helper

    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor) and math.prod(tensor.dims) <= _SMALL:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]


def _number_repeated_names(model: Any) -> dict[str, str]:
    """Give every node of a graph a name of its own, in place; return the old name of each new one.

    Args:
        model: an onnx.ModelProto.
    """
    renamed: dict[str, str] = {}
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _number_names(nodes, renamed)
    return renamed


def _number_names(nodes: Iterable[Any], renamed: dict[str, str]) -> None:
    taken = {node.name for node in nodes}
    seen: set[str] = set()
    for node in nodes:
        if node.name and node.name in seen:
            number = 2
            while f"{node.name} ({number})" in taken:
                number += 1
            renamed[f"{node.name} ({number})"] = node.name
            node.name = f"{node.name} ({number})"
            taken.add(node.name)
        seen.add(node.name)
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _number_names(graph.node, renamed)


def _add_all_values(model: Any) -> None:
    """Make every value of the outermost graph one of its outputs, in place."""
    graph = model.graph
    seen = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.output:
            if name and name not in seen:
                seen.add(name)
                graph.output.add(name=name)


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
