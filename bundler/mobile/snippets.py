"""Generates code that calls a model in Python, Kotlin, Swift and C++, from the signature of its first file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundler.errors import UsageError
from bundler.mobile.literals import cpp_literal, kotlin_literal, python_literal, swift_literal
from bundler.mobile.metadata import Image, Labels
from bundler.mobile.model import MobileModel, MobileVariant
from bundler.render.files import render_template
from bundler.values.signature import TensorSpec


@dataclass(frozen=True)
class _Type:
    """A dtype's size and its names in the four languages; `buffer` is Kotlin's view of a ByteBuffer, empty for bytes."""

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
"""Keywords of the four languages, and names that the templates use."""


@dataclass(frozen=True)
class Argument:
    """An input or output, for the templates.

    Attributes:
        name: its name.
        ident: a variable name that is valid in all four languages.
        dtype: its dtype.
        shape: its shape.
        type: the dtype in the four languages.
        scale, zero_point: for quantized integers, value = scale * (integer - zero_point); `scale` is None for others.
        remark: how its values differ from the model's, or empty.
    """

    name: str
    ident: str
    dtype: str
    shape: tuple[int, ...]
    type: _Type
    scale: float | None = None
    zero_point: int = 0
    remark: str = ""

    @property
    def meaning(self) -> str:
        """Dtype and shape such as `float32 [1, 10]`, and the formula for quantized integers or the remark."""
        text = f"{self.dtype} {self.shape_text}{f'; {self.remark}' if self.remark else ''}"
        if self.scale is None:
            return text
        return f"{text}, representing {self.scale:.9g} * (integer - {self.zero_point})"

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def shape_text(self) -> str:
        """The shape for display, such as `[1, 10]`."""
        return f"[{', '.join(map(str, self.shape))}]"

    @property
    def python_shape(self) -> str:
        """The shape as a Python tuple."""
        return repr(self.shape)

    @property
    def numpy_dtype(self) -> str:
        """The dtype as a NumPy expression."""
        return "np.bool_" if self.dtype == "bool" else f"np.{self.dtype}"


def snippets(model: MobileModel, file: str, labels: Labels | None) -> dict[str, str]:
    """Return the texts of the code files, by path in the export.

    Args:
        model: the model.
        file: name of the first variant's .tflite file, which the code calls.
        labels: labels of an output, if any.

    Raises:
        UsageError: the code cannot be generated for a tensor's type (strings, complex numbers).
    """
    variant = model.variants[0]
    class_name = _class_name(model.name)
    values: dict[str, Any] = {
        "model": model,
        "file": file,
        "class_name": class_name,
        "inputs": arguments(variant.inputs, variant),
        "outputs": arguments(variant.outputs, variant),
        "labels": labels,
        "image": Image.of(variant.inputs[0]) if len(variant.inputs) == 1 else None,
        "preprocessing": model.preprocessing,
        "python": python_literal,
        "kotlin": kotlin_literal,
        "swift": swift_literal,
        "cpp": cpp_literal,
    }
    paths = {
        f"python/{_ident(model.name)}.py": "mobile/python.py.j2",
        f"kotlin/{class_name}.kt": "mobile/kotlin.kt.j2",
        f"swift/{class_name}.swift": "mobile/swift.swift.j2",
        f"cpp/{_ident(model.name)}.cc": "mobile/cpp.cc.j2",
    }
    return {path: render_template(template, **values) for path, template in paths.items()}


def arguments(specs: Sequence[TensorSpec], variant: MobileVariant | None = None) -> tuple[Argument, ...]:
    """Return inputs or outputs for the templates, each with a unique variable name.

    Args:
        specs: the inputs or outputs.
        variant: the variant that has them, for their scales and the model's dtypes.

    Raises:
        UsageError: the type of a tensor is not supported.
    """
    idents: set[str] = set()
    result = []
    for spec in specs:
        if spec.dtype not in TYPES:
            raise UsageError(
                f"Cannot generate code that passes the tensor {spec}.",
                fix=f"supported types: {', '.join(TYPES)}",
                code="TFB4502",
            )
        ident = _ident(spec.name)
        while ident in idents:
            ident += "_"
        idents.add(ident)
        shape = tuple(int(size) for size in spec.dims if isinstance(size, int))
        scale, zero_point = variant.scales.get(spec.name, (None, 0)) if variant else (None, 0)
        remark = variant.remark(spec.name) if variant else ""
        result.append(Argument(spec.name, ident, spec.dtype, shape, TYPES[spec.dtype], scale, zero_point, remark))
    return tuple(result)


def _ident(name: str) -> str:
    """Convert `input.1` to `input_1`, avoiding keywords and names that the templates use."""
    ident = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "value"
    if ident[0].isdigit():
        ident = f"_{ident}"
    return f"{ident}_" if ident.lower() in _KEYWORDS else ident


def _class_name(name: str) -> str:
    """Convert `mobilenet-v3` to `MobilenetV3Model`."""
    parts = re.split(r"[^A-Za-z0-9]+", name)
    joined = "".join(part[:1].upper() + part[1:] for part in parts if part)
    return f"{'' if joined[:1].isalpha() else 'Tf'}{joined}Model"
