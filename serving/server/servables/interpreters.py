"""LiteRT interpreters of one .tflite file, each used by one call at a time. Does not import TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.protocol.status import Code, StatusError
from serving.protocol.tensors import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TfliteTensor:
    """An input or output of the file's first subgraph.

    Attributes:
        name: its name in the file.
        index: its index in the interpreter.
        dtype: NumPy's name of its dtype, or `string`.
        dims: its shape; -1 is a dim that can be resized.
    """

    name: str
    index: int
    dtype: str
    dims: Shape

    def takes(self, shape: Shape) -> bool:
        """Return whether the tensor can be resized to `shape`, whose sizes may be any, as in the real server.

        Kernels rely on the number of axes, so that it stays.
        """
        return len(shape) == len(self.dims) > 0


class Interpreter:
    """One interpreter. It keeps the shapes of its last call, so that only a change of shape costs an allocation.

    Args:
        content: the .tflite file.
        threads: threads of one call.

    Raises:
        StatusError: INTERNAL with the real server's text: LiteRT cannot build or prepare the file.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRt

        try:
            self._litert = LiteRt(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as exc:
            raise StatusError(Code.INTERNAL, f"Cannot build Interpreter from buffer. {_first_line(exc)}") from exc
        self._allocate()
        details = self._litert.get_input_details()
        self._shapes: dict[int, Shape] = {d["index"]: tuple(int(n) for n in d["shape"]) for d in details}

    @property
    def inputs(self) -> tuple[TfliteTensor, ...]:
        """The inputs of the first subgraph."""
        return tuple(map(_tensor, self._litert.get_input_details()))

    @property
    def outputs(self) -> tuple[TfliteTensor, ...]:
        """The outputs of the first subgraph."""
        return tuple(map(_tensor, self._litert.get_output_details()))

    def run(self, feeds: Mapping[int, Array], fetches: Sequence[int]) -> list[Array]:
        """Run the first subgraph.

        Like the real server (tflite_session.cc), this resizes and fills one input after the other, in the order of their
        indices, and prepares the graph after each one that has another shape than in the last call.

        Args:
            feeds: tensor index -> array of the tensor's dtype, in a shape that the tensor can be resized to.
            fetches: indices of the tensors to return.

        Returns:
            One array per index in `fetches`.

        Raises:
            StatusError: INTERNAL: LiteRT rejected the shapes or failed. The interpreter cannot be used again.
        """
        for index, array in sorted(feeds.items()):
            if self._shapes.get(index) != array.shape:
                self._litert.resize_tensor_input(index, list(array.shape), strict=False)
                self._allocate()
                self._shapes[index] = array.shape
            self._litert.set_tensor(index, array)
        try:
            self._litert.invoke()
            # A kernel may leave an output of a shape that no array can have, as TOPK_V2 does for no rows.
            return [self._litert.get_tensor(index) for index in fetches]
        except (ValueError, RuntimeError) as exc:
            raise StatusError(Code.INTERNAL, "Failed to invoke TfLite interpreter") from exc

    def _allocate(self) -> None:
        try:
            self._litert.allocate_tensors()
        except (ValueError, RuntimeError) as exc:
            raise StatusError(Code.INTERNAL, "Failed to allocate tensors") from exc


class InterpreterPool:
    """Interpreters of one file, created as concurrent calls need them.

    Each interpreter has one thread, as in the real server (servables/tensorflow/tflite_interpreter_pool.cc).

    Args:
        content: the .tflite file, which the interpreters share.
        size: calls that run at once; more wait.

    Raises:
        StatusError: INTERNAL: LiteRT cannot run the file.
    """

    def __init__(self, content: bytes, *, size: int) -> None:
        self._content = content
        self._changed = threading.Condition()
        self._free_slots = list(range(max(size, 1)))
        first = Interpreter(content)
        self.inputs, self.outputs = first.inputs, first.outputs
        self._idle: dict[int, Interpreter] = {0: first}

    def run(self, feeds: Mapping[int, Array], fetches: Sequence[int]) -> list[Array]:
        """Run `Interpreter.run` with a free interpreter, from any thread. An interpreter that fails is replaced."""
        with self._slot() as slot:
            interpreter = self._idle.pop(slot, None) or Interpreter(self._content)
            results = interpreter.run(feeds, fetches)
            self._idle[slot] = interpreter
            return results

    def close(self) -> None:
        """Free the interpreters. No call may be running."""
        self._idle.clear()

    @contextmanager
    def _slot(self) -> Iterator[int]:
        """Take the lowest free slot, so that a lone client always gets the same, warm interpreter."""
        with self._changed:
            while not self._free_slots:
                self._changed.wait()
            slot = min(self._free_slots)
            self._free_slots.remove(slot)
        try:
            yield slot
        finally:
            with self._changed:
                self._free_slots.append(slot)
                self._changed.notify()


def _tensor(detail: Mapping[str, Any]) -> TfliteTensor:
    dtype = np.dtype(detail["dtype"])
    fixed, signature = (tuple(int(n) for n in detail[key]) for key in ("shape", "shape_signature"))
    # The shape_signature of a file without one is empty.
    dims = signature if len(signature) == len(fixed) else fixed
    return TfliteTensor(detail["name"], detail["index"], "string" if dtype.kind in "SUO" else dtype.name, dims)


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
