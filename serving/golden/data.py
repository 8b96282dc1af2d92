"""Golden data: example inputs of every signature and PyTorch's answers, in one .npz that NumPy alone can read.

Keys are `<signature>/<case>/in/<name>` and `<signature>/<case>/out/<name>`. `__meta__` holds JSON with the model's name, the
tolerance, that of a model.tflite in lower precision beside the SavedModel, the order of cases, inputs and outputs, and the
keys whose dtype NumPy does not have (bfloat16 is stored as uint16). Strings are stored as NumPy unicode arrays, bytes (images,
tf.Examples) as base64. Nothing is pickled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.golden.npz import read_npz, unreadable
from serving.protocol.tensors import Array


@dataclass(frozen=True)
class GoldenCase:
    """One call of a signature and its answer.

    Attributes:
        signature: name of the signature.
        name: name of the case, unique within the signature.
        inputs: arrays by input name, in the signature's order.
        outputs: arrays by output name, in the signature's order.
    """

    signature: str
    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Golden:
    """All golden calls of one version of a model.

    Attributes:
        model: name of the model.
        tolerance: largest allowed relative error, see `serving.golden.compare`.
        cases: the calls.
        bfloat16: keys of the arrays that hold the bits of bfloat16 values as uint16.
        fast_path_tolerance: the same for a model.tflite in lower precision beside the SavedModel; None: as `tolerance`.
    """

    model: str
    tolerance: float
    cases: tuple[GoldenCase, ...]
    bfloat16: tuple[str, ...] = field(default=())
    fast_path_tolerance: float | None = None

    @property
    def served_tolerance(self) -> float:
        """The tolerance for a server that may prefer the model.tflite, which a client cannot tell from the SavedModel."""
        return self.tolerance if self.fast_path_tolerance is None else self.fast_path_tolerance

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of the signatures, in the order of their first calls."""
        return tuple(dict.fromkeys(case.signature for case in self.cases))

    @property
    def largest_batch(self) -> int:
        """Number of rows of the largest call."""
        return max((batch_size(case.inputs) for case in self.cases), default=0)

    def inputs(self, case: GoldenCase) -> dict[str, Array]:
        """Return a case's inputs in the form that tensors are made from: bfloat16 as in `serving.protocol.tensors`."""
        return self._with_bfloat16(case, "in", case.inputs)

    def outputs(self, case: GoldenCase) -> dict[str, Array]:
        """Return a case's outputs, in the form of `inputs`."""
        return self._with_bfloat16(case, "out", case.outputs)

    def _with_bfloat16(self, case: GoldenCase, side: str, arrays: dict[str, Array]) -> dict[str, Array]:
        from serving.protocol.tensors import bfloat16_from_bits

        bits = {name for name in arrays if _key(case, side, name) in self.bfloat16}
        return {name: bfloat16_from_bits(array) if name in bits else array for name, array in arrays.items()}

    def save(self, path: Path) -> None:
        """Write the .npz file."""
        arrays: dict[str, Array] = {}
        for case in self.cases:
            for side, values in (("in", case.inputs), ("out", case.outputs)):
                arrays.update({_key(case, side, name): value for name, value in values.items()})
        binary = [key for key, value in arrays.items() if is_binary(value)]
        arrays.update({key: _map(arrays[key], lambda v: base64.b64encode(v).decode()).astype(str) for key in binary})
        meta = {
            "model": self.model,
            "tolerance": self.tolerance,
            **({} if self.fast_path_tolerance is None else {"fast_path_tolerance": self.fast_path_tolerance}),
            "bfloat16": list(self.bfloat16),
            "binary": binary,
            "cases": [
                {
                    "signature": case.signature,
                    "name": case.name,
                    "inputs": list(case.inputs),
                    "outputs": list(case.outputs),
                }
                for case in self.cases
            ],
        }
        with path.open("wb") as file:
            np.savez_compressed(file, __meta__=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Golden:
        """Read an .npz file that `save` wrote.

        Raises:
            GoldenError: the file cannot be read, is damaged, too large, or not an .npz file of this form.
        """
        try:
            path = Path(path)
        except TypeError as exc:
            raise unreadable(Path("?"), exc) from exc
        data = read_npz(path)
        if "__meta__" not in data:
            raise unreadable(path, "it has no __meta__, so it is not golden data of tfbundle")
        try:
            meta = json.loads(str(data["__meta__"]))
            binary = set(meta.get("binary", ()))
            cases = tuple(_case(row, data, binary) for row in meta["cases"])
            fast_path = float(meta["fast_path_tolerance"]) if "fast_path_tolerance" in meta else None
            return cls(str(meta["model"]), float(meta["tolerance"]), cases, tuple(map(str, meta["bfloat16"])), fast_path)
        except KeyError as exc:
            raise unreadable(path, f"it has no {exc}") from exc
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            raise unreadable(path, f"its __meta__ has another form ({exc})") from exc


def batch_size(inputs: Mapping[str, Array]) -> int:
    """Return the number of rows of a call: the largest first dim, as a batching server counts; 1 if all inputs are scalars."""
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def is_binary(array: Array) -> bool:
    """Return whether the array holds bytes that need not be text: an object array of bytes."""
    return array.dtype.kind == "O" and any(isinstance(value, bytes) for value in array.ravel().tolist())


def _map(array: Array, change: Callable[[Any], Any]) -> Array:
    mapped = np.empty(array.shape, np.object_)
    mapped.ravel()[:] = [change(value) for value in array.ravel().tolist()]
    return mapped


def _case(row: dict[str, Any], data: Any, binary: set[str]) -> GoldenCase:
    def side(name: str, keys: Sequence[str]) -> dict[str, Array]:
        arrays = {}
        for key in keys:
            stored = f"{row['signature']}/{row['name']}/{name}/{key}"
            arrays[key] = _map(data[stored], base64.b64decode) if stored in binary else data[stored]
        return arrays

    return GoldenCase(row["signature"], row["name"], side("in", row["inputs"]), side("out", row["outputs"]))


def _key(case: GoldenCase, side: str, name: str) -> str:
    return f"{case.signature}/{case.name}/{side}/{name}"
