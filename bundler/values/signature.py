"""Signatures: names, dtypes and dims of a model's inputs and outputs, in the model's own order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bundler.errors import UsageError
from serving.texts import is_printable

Dim: TypeAlias = "int | str | None"
"""A fixed size, the name of a dynamic dim (`batch`, `seq`), or None for a dynamic dim without a name."""

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "string", "complex64", "complex128",
    "float8_e4m3fn", "float8_e5m2", "int4", "uint4",
)  # fmt: skip

LARGEST_DIM = 2**31 - 1
"""The largest size of a dim: TFLite's are 32-bit integers, and no runtime computes with a larger one."""

_INPUT = re.compile(r" *(?P<name>\S|\S.*\S) *= *(?P<dtype>\w+) *\[(?P<dims>[^\]]*)\] *")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the model's own name for it.
        dtype: a NumPy dtype name, or `string`, or `bfloat16`.
        dims: one entry per axis; see `Dim`.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The dims with every dynamic one as None."""
        return tuple(d if isinstance(d, int) else None for d in self.dims)

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """The axes whose size is not fixed."""
        return tuple(axis for axis, d in enumerate(self.dims) if not isinstance(d, int))

    def __str__(self) -> str:
        dims = ",".join("?" if d is None else str(d) for d in self.dims)
        return f"{self.name}={self.dtype}[{dims}]"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Parse `name=dtype[dims]`, for example `x=float32[batch,3,224,224]`; a scalar is `x=float32[]`.

        Raises:
            UsageError: the text does not have this form; the message shows an example.
        """
        match = _INPUT.fullmatch(text)
        example = "write it like 'x=float32[batch,3,224,224]'"
        if match is None or not is_printable(text):
            raise UsageError(
                f"The input {text!r} does not have the form name=dtype[dims].", fix=example, code="TFB1201"
            )
        dtype = match["dtype"]
        if dtype not in DTYPES:
            raise UsageError(
                f"The input {text!r} has the unknown dtype {dtype!r}.",
                fix=f"choose one of: {', '.join(DTYPES)}",
                code="TFB1201",
            )
        return cls(match["name"], dtype, tuple(_dim(part, text) for part in _dims(match["dims"])))

    @classmethod
    def read(cls, text: str) -> TensorSpec:
        """Read what `str` wrote, for a spec whose dims are numbers or `?`: the name may hold any characters.

        Raises:
            ValueError: the text is not such a spec.
        """
        name, equals, rest = text.rpartition("=")
        dtype, bracket, dims = rest.partition("[")
        if not (equals and bracket and dims.endswith("]")):
            raise ValueError(f"{text!r} is not a tensor")
        return cls(name, dtype, tuple(None if part == "?" else int(part) for part in _dims(dims[:-1])))


def check_names(signature: Signature) -> None:
    """Check that the names of a signature's tensors and dims are texts that every artifact can hold and every screen can show.

    Raises:
        UsageError: a name is empty, or has control, invisible or direction-changing characters.
    """
    for spec in (*signature.inputs, *signature.outputs):
        for kind, name in (("tensor", spec.name), *(("dim", dim) for dim in spec.dims if isinstance(dim, str))):
            if type(name) is not str or not name or not is_printable(name):  # bytes: not UTF-8 in the ONNX file
                raise UsageError(
                    f"The name {name!r} of a {kind} is empty or has characters that cannot be shown.",
                    fix="rename it in the model: a name is one line of visible characters, e.g. input_ids",
                    code="TFB1202",
                )


def _dims(text: str) -> list[str]:
    return [part.strip(" ") for part in text.split(",")] if text.strip(" ") else []


def _dim(part: str, text: str) -> Dim:
    if part == "?":
        return None
    if part.isidentifier():
        return part
    if part.isascii() and part.isdecimal() and len(part) < 20 and 0 < int(part) <= LARGEST_DIM:
        return int(part)
    raise UsageError(
        f"The input {text!r} has the invalid dim {part!r}.",
        fix=f"write a whole number from 1 to {LARGEST_DIM}, a name for a dynamic dim (batch, seq), or ?",
        code="TFB1201",
    )


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one callable, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(spec.name for spec in self.outputs)

    @property
    def dynamic_dims(self) -> tuple[str, ...]:
        """The names of the dynamic dims of the inputs, each once, in order of appearance."""
        seen: dict[str, None] = {}
        for spec in self.inputs:
            seen.update({d: None for d in spec.dims if isinstance(d, str)})
        return tuple(seen)

    def to_json(self) -> dict[str, list[dict[str, object]]]:
        """Return plain data for bundle.json."""
        return {
            side: [{"name": s.name, "dtype": s.dtype, "dims": list(s.dims)} for s in specs]
            for side, specs in (("inputs", self.inputs), ("outputs", self.outputs))
        }

    @classmethod
    def from_json(cls, data: dict[str, list[dict[str, object]]]) -> Signature:
        """Read what `to_json` returned."""

        def specs(rows: Sequence[dict[str, object]]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(str(r["name"]), str(r["dtype"]), tuple(r["dims"])) for r in rows)  # type: ignore[arg-type]

        return cls(specs(data["inputs"]), specs(data["outputs"]))
