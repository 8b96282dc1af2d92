"""The call of a model in Python, Kotlin, Swift and C++, made from the signature of its first file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.errors import UsageError
from bundler.mobile.metadata import Image, Labels
from bundler.mobile.model import MobileModel
from bundler.render.files import render_template
from bundler.values.signature import TensorSpec


@dataclass(frozen=True)
class _Type:
    """A dtype in the four languages; `buffer` is Kotlin's view of a ByteBuffer, empty for bytes."""

    bytes: int
    kotlin: str
    buffer: str
    swift: str
    cpp: str


TYPES = {
    "float32": _Type(4, "FloatArray", "asFloatBuffer()", "Float", "float"),
    "float64": _Type(8, "DoubleArray", "asDoubleBuffer()", "Double", "double"),
    "int64": _Type(8, "LongArray", "asLongBuffer()", "Int64", "int64_t"),
    "int32": _Type(4, "IntArray", "asIntBuffer()", "Int32", "int32_t"),
    "int16": _Type(2, "ShortArray", "asShortBuffer()", "Int16", "int16_t"),
    "int8": _Type(1, "ByteArray", "", "Int8", "int8_t"),
    "uint8": _Type(1, "ByteArray", "", "UInt8", "uint8_t"),
    "bool": _Type(1, "ByteArray", "", "Bool", "bool"),
}

_WORDS = """
argc argv buffer bundle close context file i inputmap inputs interpreter it labels load main mean model name np outputmap
pixels prepare resolver run runner std value values
and as assert async await bool break case catch char class const continue data def default defer del delete do double
else enum except extension false finally float for from fun func global guard if import in init int interface internal
is lambda let long namespace new nil none nonlocal not null object operator or outputs pass path private protected
protocol public raise register repeat return self short signed static struct super switch template this threads throw
throws true try typealias typeof union unsigned using val var virtual void when where while with yield
"""
_KEYWORDS = frozenset(_WORDS.split())
"""Of the four languages, and names that the templates use themselves."""


@dataclass(frozen=True)
class Argument:
    """An input or output as the templates see it.

    Attributes:
        ident: its name as a variable of all four languages.
        literal: its name in quotes, for Python, Swift and C++; Kotlin's has `$` escaped.
        count: elements.
        scale, zero_point: of quantized integers: value = scale * (integer - zero_point); None: they are none.
    """

    name: str
    ident: str
    dtype: str
    shape: tuple[int, ...]
    type: _Type
    scale: float | None = None
    zero_point: int = 0

    @property
    def meaning(self) -> str:
        """`float32 [1, 10]`; of quantized integers also what they stand for."""
        text = f"{self.dtype} {self.shape_text}"
        if self.scale is None:
            return text
        return f"{text}, standing for {self.scale:.9g} * (integer - {self.zero_point})"

    @property
    def literal(self) -> str:
        return json.dumps(self.name)

    @property
    def kotlin_literal(self) -> str:
        return json.dumps(self.name).replace("$", "\\$")

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def shape_text(self) -> str:
        return f"[{', '.join(map(str, self.shape))}]"

    @property
    def python_shape(self) -> str:
        return repr(self.shape)

    @property
    def numpy_dtype(self) -> str:
        return "np.bool_" if self.dtype == "bool" else f"np.{self.dtype}"


def snippets(model: MobileModel, file: str, labels: Labels | None) -> dict[str, str]:
    """Path in the export -> text.

    Args:
        file: name of the .tflite file that is called, of the model's first variant.

    Raises:
        UsageError: a tensor of a type that apps cannot pass (strings, complex numbers).
    """
    variant = model.variants[0]
    class_name = _class_name(model.name)
    values: dict[str, Any] = {
        "model": model,
        "file": file,
        "class_name": class_name,
        "inputs": arguments(variant.inputs, variant.scales),
        "outputs": arguments(variant.outputs, variant.scales),
        "labels": labels,
        "image": Image.of(variant.inputs[0]) if len(variant.inputs) == 1 else None,
        "preprocessing": model.preprocessing,
    }
    paths = {
        f"python/{_ident(model.name)}.py": "mobile/python.py.j2",
        f"kotlin/{class_name}.kt": "mobile/kotlin.kt.j2",
        f"swift/{class_name}.swift": "mobile/swift.swift.j2",
        f"cpp/{_ident(model.name)}.cc": "mobile/cpp.cc.j2",
    }
    return {path: render_template(template, **values) for path, template in paths.items()}


def arguments(
    specs: Sequence[TensorSpec], scales: Mapping[str, tuple[float, int]] | None = None
) -> tuple[Argument, ...]:
    """Inputs or outputs, each with a variable's name of its own.

    Args:
        scales: scale and zero point of those that are quantized.
    """
    taken: set[str] = set()
    made = []
    for spec in specs:
        if spec.dtype not in TYPES:
            raise UsageError(
                f"{spec} is of a type that no call can be written for.", fix=f"types with one: {', '.join(TYPES)}"
            )
        ident = _ident(spec.name)
        while ident in taken:
            ident += "_"
        taken.add(ident)
        shape = tuple(int(size) for size in spec.dims if isinstance(size, int))
        scale, zero_point = (scales or {}).get(spec.name, (None, 0))
        made.append(Argument(spec.name, ident, spec.dtype, shape, TYPES[spec.dtype], scale, zero_point))
    return tuple(made)


def _ident(name: str) -> str:
    """`input.1` -> `input_1`; no keyword and no name that the templates use themselves."""
    ident = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "value"
    if ident[0].isdigit():
        ident = f"_{ident}"
    return f"{ident}_" if ident.lower() in _KEYWORDS else ident


def _class_name(name: str) -> str:
    """`mobilenet-v3` -> `MobilenetV3Model`."""
    parts = re.split(r"[^A-Za-z0-9]+", name)
    joined = "".join(part[:1].upper() + part[1:] for part in parts if part)
    return f"{'' if joined[:1].isalpha() else 'Tf'}{joined}Model"
