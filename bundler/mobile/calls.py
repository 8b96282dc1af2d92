"""Describes the calls of a model's variants for the templates: names, types and quantization of inputs and outputs."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.errors import UsageError
from bundler.mobile.metadata import Image, preparation_steps
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.mobile.tensors import ImageInput, Tensor
from bundler.values.signature import TensorSpec

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Dtypes that the libraries convert."""

_WORDS = """
argc argv buffer bundle close context file folder i image inputs interpreter it labels main model name np outputs pixels
run runner self std tensor threads top value values variant variants
and as assert async await bool break case catch char class const continue data def default defer del delete do double
else enum except export extends extension false finally float for from fun func function global guard if import in init int
interface internal is lambda let long namespace new nil none nonlocal not null object operator or pass path private
protected protocol public raise register repeat return short signed static struct super switch template this throw throws
true try typealias typeof union unsigned using val var virtual void when where while with yield
"""
_KEYWORDS = frozenset(_WORDS.split())
"""Keywords of the five languages, and names that the templates use."""
_LONGEST_IDENT = 60


@dataclass(frozen=True)
class Argument:
    """An input or output, for the templates.

    Attributes:
        name: its name.
        ident: a variable name that is valid in all five languages.
        dtype: its dtype.
        shape: its shape.
        scale, zero_point: for quantized integers, value = scale * (integer - zero_point); `scale` is None for others.
        remark: how its values differ from the model's, or empty.
    """

    name: str
    ident: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int = 0
    remark: str = ""

    @property
    def tensor(self) -> Tensor:
        """The same for the library."""
        return Tensor(self.name, self.dtype, self.shape, self.scale or 0.0, self.zero_point)

    @property
    def meaning(self) -> str:
        """Dtype and shape such as `float32 [1, 10]`, and the formula for quantized integers or the remark."""
        text = f"{self.dtype} {self.shape_text}{f'; {self.remark}' if self.remark else ''}"
        if self.scale is None:
            return text
        return f"{text}, representing {self.scale:.9g} * (integer - {self.zero_point})"

    @property
    def is_float(self) -> bool:
        """Whether the tensor holds floats, quantized or not."""
        return self.scale is not None or self.dtype.startswith("float")

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def shape_text(self) -> str:
        """The shape for display, such as `[1, 10]`."""
        return f"[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class VariantCall:
    """One .tflite file of a model, by its name relative to the export."""

    name: str
    file: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]


@dataclass(frozen=True)
class ImageCall:
    """The image input of a model, how an image becomes it, and the same in words."""

    name: str
    spec: ImageInput
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """What the templates need to know of a model."""

    model: str
    version: int
    ident: str
    class_name: str
    variants: tuple[VariantCall, ...]
    image: ImageCall | None


def call_of(model: MobileModel, files: Mapping[str, str]) -> Call:
    """Return the description of a model.

    Args:
        model: the model.
        files: names of the .tflite files by variant.

    Raises:
        UsageError: the type of a tensor is not supported (strings, complex numbers).
    """
    variants = tuple(
        VariantCall(v.name, files[v.name], arguments(v.inputs, v), arguments(v.outputs, v)) for v in model.variants
    )
    image = _image(model.variants[0].inputs, model.preprocessing) if model.preprocessing else None
    return Call(model.name, model.version, module_name(model.name), class_name(model.name), variants, image)


def _image(inputs: Sequence[TensorSpec], preprocessing: Preprocessing) -> ImageCall | None:
    """Return the only image input. With several, there is no telling which one the preprocessing belongs to."""
    images = [
        (spec.name, image) for spec in inputs
        if (image := Image.of(spec)) and spec.dims[0] == 1 and spec.dtype not in ("int32", "int64", "bool")
    ]  # fmt: skip
    if len(images) != 1:
        return None
    name, image = images[0]
    spec = ImageInput(
        image.height, image.width, image.channels, image.channels_first, preprocessing.channels,
        preprocessing.resize if preprocessing.crop else None, preprocessing.interpolation,
        tuple(float(m) for m in preprocessing.mean), tuple(float(s) for s in preprocessing.std),
    )  # fmt: skip
    return ImageCall(name, spec, preparation_steps(preprocessing, image))


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
        if spec.dtype not in DTYPES:
            raise UsageError(
                f"Cannot generate code that passes the tensor {spec}.",
                fix=f"supported types: {', '.join(DTYPES)}",
                code="TFB4502",
            )
        ident = _ident(spec.name)
        while ident.lower() in idents:  # names of files have idents, and some file systems ignore case
            ident += "_"
        idents.add(ident.lower())
        shape = tuple(int(size) for size in spec.dims if isinstance(size, int))
        scale, zero_point = variant.scales.get(spec.name, (None, 0)) if variant else (None, 0)
        remark = variant.remark(spec.name) if variant else ""
        result.append(Argument(spec.name, ident, spec.dtype, shape, scale, zero_point, remark))
    return tuple(result)


def _ident(name: str) -> str:
    """Convert `input.1` to `input_1`, avoiding keywords and names that the templates use, in a length that files can have."""
    ident = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")[:_LONGEST_IDENT] or "value"
    if ident[0].isdigit():
        ident = f"_{ident}"
    return f"{ident}_" if ident.lower() in _KEYWORDS else ident


def module_name(name: str) -> str:
    """Return a name for files of code; a model called `math` must not hide Python's math or C's math.h."""
    ident = _ident(name)
    taken = sys.stdlib_module_names | {"ai_edge_litert", "numpy", "PIL", "tfbundle_tensors"}
    return f"{ident}_model" if ident in taken else ident


def class_name(name: str) -> str:
    """Convert `mobilenet-v3` to `MobilenetV3Model`."""
    parts = re.split(r"[^A-Za-z0-9]+", name)
    joined = "".join(part[:1].upper() + part[1:] for part in parts if part)
    return f"{'' if joined[:1].isalpha() else 'Tf'}{joined}Model"
