"""Makes golden data of an exported model: inputs, the tensors that they become, and the answers of each variant.

An export has them in golden/<model>/, and a test in each language compares its library with them:

- image.rgb, image.png: an image, as raw pixels and as a file
- <input>.values: numbers for an input that is not an image
- <variant>.<tensor>.bin: the content of an input or output, little-endian and row-major; equal contents are one file
- <variant>.<output>.answer: the numbers that a quantized output holds, float32
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bundler.mobile.calls import Call, ImageCall, VariantCall
from bundler.mobile.metadata import Labels
from bundler.mobile.tensors import Array, decode, encode, prepare_image, top


@dataclass(frozen=True)
class GoldenVariant:
    """The golden data of one variant: names of files by tensor name, and the label of the highest score, if labels are given."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    answers: Mapping[str, str]
    label: str | None


@dataclass(frozen=True)
class GoldenNumbers:
    """A file with numbers for an input: float32, or int64 if the input holds integers in every variant."""

    file: str
    is_float: bool


@dataclass(frozen=True)
class Golden:
    """The golden data of a model.

    Attributes:
        folder: its folder relative to the export's.
        height, width: of the image; 0 if the model takes none.
        values: numbers for inputs that are not images, by input.
        variants: by the variant's name.
        files: contents by file name.
    """

    folder: str
    height: int
    width: int
    values: Mapping[str, GoldenNumbers]
    variants: Mapping[str, GoldenVariant]
    files: Mapping[str, bytes]


def make_golden(
    call: Call, run: Callable[[VariantCall, Mapping[str, Array]], Mapping[str, Array]], labels: Labels | None
) -> Golden:
    """Run each variant on the same inputs.

    Args:
        call: the model.
        run: runs a variant: contents of its inputs by name to contents of its outputs.
        labels: labels of an output, if any.
    """
    store = _Files({})
    pixels = _pixels(call.image) if call.image else None
    numbers = _numbers(call)
    values = {
        argument.name: GoldenNumbers(store.add(f"{argument.ident}.values", array), array.dtype == np.float32)
        for argument in call.variants[0].inputs
        if (array := numbers.get(argument.name)) is not None
    }
    variants: dict[str, GoldenVariant] = {}
    for variant in call.variants:
        inputs: dict[str, Array] = {}
        for argument in variant.inputs:
            if call.image and pixels is not None and argument.name == call.image.name:
                inputs[argument.name] = prepare_image(pixels, call.image.spec, argument.tensor)
            else:
                inputs[argument.name] = encode(numbers[argument.name], argument.tensor)
        outputs = run(variant, inputs)
        answers = {argument.name: decode(outputs[argument.name], argument.tensor) for argument in variant.outputs}
        variants[variant.name] = GoldenVariant(
            {a.name: store.add(f"{variant.name}.{a.ident}.bin", inputs[a.name]) for a in variant.inputs},
            {a.name: store.add(f"{variant.name}.{a.ident}.out.bin", outputs[a.name]) for a in variant.outputs},
            {a.name: store.add(f"{variant.name}.{a.ident}.answer", answers[a.name]) for a in variant.outputs if a.scale},
            top(answers[labels.output], labels.names)[0][0] if labels else None,
        )
    height, width = pixels.shape[:2] if pixels is not None else (0, 0)
    if pixels is not None:
        store.contents.update({"image.rgb": pixels.tobytes(), "image.png": _png(pixels)})
    return Golden(f"golden/{call.model}", height, width, values, variants, store.contents)


@dataclass(frozen=True)
class _Files:
    contents: dict[str, bytes]

    def add(self, name: str, array: Array) -> str:
        """Keep an array as little-endian bytes; return the name of the file that has them, which may be an earlier one."""
        content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        known = next((other for other, kept in self.contents.items() if kept == content), None)
        self.contents.setdefault(known or name, content)
        return known or name


def _numbers(call: Call) -> dict[str, Array]:
    """Return numbers for the inputs that are not images: floats of 0 to 1, integers of 0 and 1."""
    rng = np.random.default_rng(0)
    numbers = {}
    for argument in call.variants[0].inputs:
        if call.image and argument.name == call.image.name:
            continue
        is_float = any(a.is_float for v in call.variants for a in v.inputs if a.name == argument.name)
        drawn = rng.random(argument.shape, np.float32) if is_float else rng.integers(0, 2, argument.shape)
        numbers[argument.name] = np.asarray(drawn, np.float32 if is_float else np.int64)
    return numbers


def _pixels(image: ImageCall) -> Array:
    """Return an image of another size than the input's, smooth with some grain, so that each step changes it."""
    height, width = image.spec.height * 3 // 2 + 1, image.spec.width * 5 // 4 + 2
    rows, columns = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    grain = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    colors = np.stack([215 * columns, 100 * rows, 60 * (1 - columns)], axis=-1)
    return np.asarray(colors + grain, np.uint8)


def _png(pixels: Array) -> bytes:
    """Return pixels as a PNG file (PNG specification, sections 5 and 11)."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    chunks: Sequence[tuple[bytes, bytes]] = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
