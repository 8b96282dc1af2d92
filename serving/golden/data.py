"""Golden data: example inputs of every signature and what PyTorch answered, in one .npz that NumPy alone
can read.

Keys are `<signature>/<case>/in/<name>` and `<signature>/<case>/out/<name>`; `__meta__` holds JSON with the
model's name, the tolerance, the order of cases, inputs and outputs, and the dtypes that NumPy cannot hold
(bfloat16 is kept as uint16). Strings are kept as NumPy unicode arrays, bytes (images, tf.Examples) as base64. No pickle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.protocol.tensors import Array


@dataclass(frozen=True)
class GoldenCase:
    """One call: arrays by name, in the signature's order."""

    signature: str
    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Golden:
    """All golden calls of one version of a model.

    Attributes:
        tolerance: largest relative error allowed, see `serving.golden.compare`.
        bfloat16: keys of arrays that hold bfloat16 bits as uint16.
    """

    model: str
    tolerance: float
    cases: tuple[GoldenCase, ...]
    bfloat16: tuple[str, ...] = field(default=())

    @property
    def signatures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case.signature for case in self.cases))

    @property
    def largest_batch(self) -> int:
        """Rows of the largest call."""
        return max((batch_size(case.inputs) for case in self.cases), default=0)

    def inputs(self, case: GoldenCase) -> dict[str, Array]:
        """The inputs as a tensor takes them: bfloat16 bits marked as such, see `serving.protocol.tensors`."""
        return self._marked(case, "in", case.inputs)

    def outputs(self, case: GoldenCase) -> dict[str, Array]:
        """The outputs in the same form."""
        return self._marked(case, "out", case.outputs)

    def _marked(self, case: GoldenCase, side: str, arrays: dict[str, Array]) -> dict[str, Array]:
        from serving.protocol.tensors import bfloat16_from_bits

        coded = {name for name in arrays if _key(case, side, name) in self.bfloat16}
        return {name: bfloat16_from_bits(a) if name in coded else a for name, a in arrays.items()}

    def save(self, path: Path) -> None:
        arrays: dict[str, Array] = {}
        for case in self.cases:
            for side, values in (("in", case.inputs), ("out", case.outputs)):
                arrays.update({_key(case, side, name): value for name, value in values.items()})
        binary = [key for key, value in arrays.items() if is_binary(value)]
        arrays.update({key: _each(arrays[key], lambda v: base64.b64encode(v).decode()).astype(str) for key in binary})
        meta = {
            "model": self.model,
            "tolerance": self.tolerance,
            "bfloat16": list(self.bfloat16),
            "binary": binary,
            "cases": [
                {
                    "signature": c.signature,
                    "name": c.name,
                    "inputs": list(c.inputs),
                    "outputs": list(c.outputs),
                }
                for c in self.cases
            ],
        }
        with path.open("wb") as file:
            np.savez_compressed(file, __meta__=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read golden data.

        Raises:
            ValueError: not an .npz of this form.
            OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            data = np.load(file, allow_pickle=False)
            if not isinstance(data, np.lib.npyio.NpzFile) or "__meta__" not in data:
                raise ValueError(f"{path} has no __meta__: it is not golden data of tfbundle")
            meta = json.loads(str(data["__meta__"]))
            binary = set(meta.get("binary", ()))
            cases = tuple(_case(row, data, binary) for row in meta["cases"])
        return cls(meta["model"], meta["tolerance"], cases, tuple(meta["bfloat16"]))


def batch_size(inputs: Mapping[str, Array]) -> int:
    """Rows of a call, the first dim that a batching server counts; a call without arrays that have one is one row."""
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def is_binary(array: Array) -> bool:
    """Whether the array has bytes that need not be text: an object array of bytes."""
    return array.dtype.kind == "O" and any(isinstance(value, bytes) for value in array.ravel().tolist())


def _each(array: Array, change: Callable[[Any], Any]) -> Array:
    out = np.empty(array.shape, np.object_)
    out.ravel()[:] = [change(value) for value in array.ravel().tolist()]
    return out


def _case(row: dict[str, Any], data: Any, binary: set[str]) -> GoldenCase:
    def side(name: str, keys: Sequence[str]) -> dict[str, Array]:
        arrays = {}
        for key in keys:
            stored = f"{row['signature']}/{row['name']}/{name}/{key}"
            arrays[key] = _each(data[stored], base64.b64decode) if stored in binary else data[stored]
        return arrays

    return GoldenCase(row["signature"], row["name"], side("in", row["inputs"]), side("out", row["outputs"]))


def _key(case: GoldenCase, side: str, name: str) -> str:
    return f"{case.signature}/{case.name}/{side}/{name}"
