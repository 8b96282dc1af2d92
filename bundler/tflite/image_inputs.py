"""Finds the image input of a model, and the form in which .tflite files take it.

1. A model is one for images if `tflite.images` is declared, or the calibration data is a folder of images.
2. Its image input is the only one of 4 axes with 1 or 3 channels, in floats.
3. The files take it channels last, unless `layout: keep` is set for the model.
4. With `tflite.images.fold`, they take pixels of 0 to 255, as RGB or grey, and normalize them. If a convolution comes first, its
   weights do most of it (`bundler.graph.fold_pixels`). An input of float16 is not changed.
5. The quantized range of pixels is 0 to 255, so that int8 holds each pixel as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.adapters.preprocessing import SUFFIXES, ImageReader
from bundler.converters.signature_names import tensor_names
from bundler.errors import UsageError
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.calibration import RANDOM, Calibration
from bundler.tflite.flatbuffer import packed, text
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT, TakesImages
from bundler.values.image_form import ImageForm
from bundler.values.reference import to_served

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import SignatureLayout, TfliteSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.signature import Signature, TensorSpec

_CHANNELS = (1, 3)
_SLACK = 32
"""How far pixels can be beyond 0 and 255 after a resize of floats that sharpens edges."""
_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class FileInputs:
    """Converts PyTorch's inputs to those of .tflite files.

    Attributes:
        permutations: `ConvertedModel.permutations`.
        image: the form of the image input, if the model has one.
    """

    permutations: Mapping[str, Sequence[int]] = field(default_factory=dict)
    image: ImageForm | None = None

    def of(self, call: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs of a file for those of PyTorch."""
        served = to_served(call, self.permutations)
        return served | {self.image.name: self.image.to_file(call[self.image.name])} if self.image else served

    def static(self, converted: ConvertedModel, shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
        """Return serving_default as a ConcreteFunction for inputs of these shapes, as the files take them."""
        if self.image is None:
            return converted.static(shapes)
        if isinstance(converted, TakesImages):
            return converted.static_image(shapes, self.image)
        return _wrapped(converted, shapes, self.image)

    def order(self, name: str) -> Sequence[int] | None:
        """Return the axes that bring PyTorch's array of an input into the file's order; None if it is the same."""
        return self.image.order if self.image and self.image.name == name else self.permutations.get(name)


def image_form(
    signature: Signature,
    spec: TfliteSpec,
    base: Path,
    *,
    layout: SignatureLayout | None = None,
    permutations: Mapping[str, Sequence[int]] | None = None,
) -> ImageForm | None:
    """Return the form of the image input in .tflite files; None if the model has none, or the files take what the model takes.

    Args:
        signature: PyTorch's signature.
        spec: the model's `tflite` section.
        base: folder that a relative path of calibration data starts from.
        layout: the model's layout; None for channels last in files of image models.
        permutations: `ConvertedModel.permutations`.

    Raises:
        UsageError: the preprocessing does not fit the input, or `fold` is set, and there is no input to which it applies.
    """
    images = _image_spec(spec, base)
    if images is None:
        return None
    inputs = [(each, axis) for each in signature.inputs if (axis := _channel_axis(each)) is not None]
    name, axis = (inputs[0][0].name, inputs[0][1]) if len(inputs) == 1 else ("", 1)
    folds = images.fold is not False and len(inputs) == 1 and inputs[0][0].dtype == "float32"
    if images.fold and not folds:
        raise UsageError(
            "tflite.images.fold needs exactly one image input: float32, with 4 axes and 1 or 3 channels.",
            where=", ".join(map(str, signature.inputs)),
            fix="omit fold",
            code="TFB1306",
        )
    if len(inputs) != 1:
        return None
    is_moved = axis == 1 and (layout != "keep" or name in (permutations or {}))
    form = ImageForm(name, axis, _LAST if is_moved else None)
    return _folded(form, inputs[0][0], images) if folds else form if is_moved else None


def _wrapped(converted: ConvertedModel, shapes: Mapping[str, tuple[int | None, ...]], image: ImageForm) -> Any:
    """Put the form of the image in front of a function of any converter, which takes the order that is served."""
    import tensorflow as tf

    from bundler.converters.image_pixels import normalized

    served = converted.permutations.get(image.name, range(4))
    axes = [(image.order or range(4)).index(axis) for axis in served]
    base = converted.static({**shapes, image.name: tuple(shapes[image.name][axis] for axis in axes)})
    specs = converted.signatures[SERVING_DEFAULT].inputs
    names = tensor_names(spec.name for spec in specs)

    def call(*inputs: Any) -> dict[str, Any]:
        arguments = {spec.name: tensor for spec, tensor in zip(specs, inputs, strict=True)}
        values = normalized(arguments[image.name], image)
        arguments[image.name] = values if axes == [0, 1, 2, 3] else tf.transpose(values, axes)
        outputs: dict[str, Any] = base(**{names[name]: tensor for name, tensor in arguments.items()})
        return {name: tf.identity(tensor) for name, tensor in outputs.items()}

    arguments = [tf.TensorSpec(shapes[spec.name], tf.as_dtype(spec.dtype), name=names[spec.name]) for spec in specs]
    wrapped = tf.function(call, autograph=False).get_concrete_function(*arguments)
    wrapped._tfbundle_base = base  # a ConcreteFunction does not keep its captures alive
    return wrapped


def _image_spec(spec: TfliteSpec, base: Path) -> ImageSpec | None:
    if spec.images or not spec.calibration:
        return spec.images
    folder = base / spec.calibration
    has_images = folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))
    return ImageSpec() if has_images else None


def _channel_axis(spec: TensorSpec) -> int | None:
    if len(spec.dims) != 4 or spec.dtype not in ("float32", "float16"):
        return None
    return next((axis for axis in (1, 3) if spec.dims[axis] in _CHANNELS), None)


def _folded(form: ImageForm, spec: TensorSpec, images: ImageSpec) -> ImageForm:
    count = int(spec.dims[form.axis] or 1)
    sizes = [None if not isinstance(size, int) else size for size in spec.dims[1:]]
    if None not in sizes:
        ImageReader.of_input(spec, sizes, images)
    mean, std = (np.broadcast_to(np.asarray(v or (d,), np.float64), (count,)) for v, d in ((images.mean, 0.0), (images.std, 1.0)))
    factor, offset = images.scale / std, -mean / std
    return ImageForm(
        form.name, form.axis, form.order, tuple(factor.tolist()), tuple(offset.tolist()), count == 3 and images.channels == "bgr"
    )


def check_pixels(form: ImageForm | None, calibration: Calibration | None) -> None:
    """Check that calibration samples are normalized pixels, so that files which take pixels get from apps what the model knows.

    Raises:
        UsageError: a sample has values that no pixel becomes.
    """
    if form is None or not form.takes_pixels or calibration is None or calibration.source == RANDOM:
        return
    for sample in calibration.samples:
        pixels = form.to_file(sample.arrays[form.name][np.newaxis])
        low, high = float(pixels.min()), float(pixels.max())
        if low < -_SLACK or high > 255 + _SLACK:
            raise UsageError(
                f"Calibration sample {sample.where}: with the scale, mean and std of tflite.images, the values of {form.name!r} "
                f"are those of pixels from {low:.4g} to {high:.4g}, not 0 to 255.",
                fix="declare in tflite.images how the samples were normalized, or set its fold to false",
                code="TFB4003",
            )


def with_pixel_range(calibrated: bytes, name: str) -> bytes:
    """Set the range of an input in a calibrated .tflite file to 0 to 255, in every signature."""
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(calibrated, 0)
    for signature in tree.signatureDefs:
        for argument in signature.inputs:
            if text(argument.name) == name:
                quantization = tree.subgraphs[signature.subgraphIndex].tensors[argument.tensorIndex].quantization
                quantization.min, quantization.max = np.array([0], np.float32), np.array([255], np.float32)
    return packed(tree, size=len(calibrated) + 1024)
