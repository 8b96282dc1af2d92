"""Tells which of MediaPipe's tasks can read a .tflite file as it is, and why others cannot.

The rules are those of MediaPipe 1.2.3 (mediapipe/tasks/cc: vision/utils/image_tensor_specs.cc, text/utils/text_model_utils.cc,
components/processors/*_graph.cc, and mediapipe/calculators/tensor/{bert,regex}_preprocessor_calculator.cc):

1. A file has one subgraph, so one signature, and no Flex operators.
2. Image tasks take one input, [1, height, width, 3], float32 or uint8, RGB, with one mean and one deviation for all channels.
   A uint8 input gets the pixels as they are.
3. Text tasks take token ids, mask and segment ids, all int32 [1, length], and need the vocabulary of an uncased WordPiece
   tokenizer, whose first token is the padding; or word ids alone, and need a vocabulary of words.
4. Outputs are float32 or uint8, either all or none uint8. A classifier's outputs have one number per class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bundler.mobile.metadata import Image
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.mobile.vocabulary import Vocabulary, input_roles, takes_words
from bundler.values.signature import TensorSpec

IMAGE_TASKS = ("ImageClassifier", "ImageEmbedder")
TEXT_TASKS = ("TextClassifier", "TextEmbedder")

_TYPES = ("float32", "uint8")


def tasks_of(model: MobileModel, variant: MobileVariant, vocabulary: Vocabulary | None) -> Mapping[str, str]:
    """Return why each task cannot read a file; an empty string if it can.

    Args:
        model: the model.
        variant: the file.
        vocabulary: the vocabulary that the file contains, if any.
    """
    image = next(_image_problems(model, variant), "")
    words = next(_text_problems(variant, vocabulary), "")
    output = next(_output_problems(variant), "")
    classes = output or next(_class_problems(variant), "")
    return {
        IMAGE_TASKS[0]: image or classes, IMAGE_TASKS[1]: image or output,
        TEXT_TASKS[0]: words or classes, TEXT_TASKS[1]: words or output,
    }  # fmt: skip


def _file_problems(variant: MobileVariant) -> Iterator[str]:
    if variant.subgraphs > 1:
        yield f"the file has {variant.subgraphs} subgraphs (further signatures, or loops), and one is allowed"
    flex = sorted(name for name in variant.operators if name.startswith("Flex"))
    if flex:
        yield f"{flex[0]} needs the Flex delegate"


def _image_problems(model: MobileModel, variant: MobileVariant) -> Iterator[str]:
    yield from _file_problems(variant)
    if len(variant.inputs) != 1:
        yield f"the file has {len(variant.inputs)} inputs, and one is allowed"
        return
    spec, preprocessing = variant.inputs[0], model.preprocessing
    image = Image.of(spec)
    if image is None:
        yield f"{spec} is not an image"
        return
    if spec.dims[0] != 1:
        yield f"{spec.name} has a batch of {spec.dims[0]}"
    if image.channels_first:
        yield "channels come first; build without layout: keep"
    if image.channels != len("RGB"):
        yield "the image is grey, and RGB is required"
    if spec.dtype not in _TYPES:
        yield f"{spec.name} is {spec.dtype}{'; build with io_type: uint8' if spec.dtype == 'int8' else ''}"
    if preprocessing is None:
        if spec.dtype != "uint8":
            yield "the normalization is not known; declare tflite.images"
        return
    if preprocessing.channels == "bgr":
        yield "the image is BGR; build with tflite.images.fold"
    yield from _normalization_problems(preprocessing, spec, variant.scales.get(spec.name))


def _normalization_problems(preprocessing: Preprocessing, spec: TensorSpec, scale: tuple[float, int] | None) -> Iterator[str]:
    if len({*preprocessing.mean}) > 1 or len({*preprocessing.std}) > 1:
        yield "each channel has its own mean or std; build with tflite.images.fold"
    elif spec.dtype == "uint8" and scale:
        mean, std = preprocessing.mean[0], preprocessing.std[0]
        if any(abs((pixel - mean) / std - scale[0] * (pixel - scale[1])) > scale[0] / 2 for pixel in (0, 255)):
            yield "its integers are not the pixels; build with tflite.images.fold"


def _text_problems(variant: MobileVariant, vocabulary: Vocabulary | None) -> Iterator[str]:
    yield from _file_problems(variant)
    if input_roles(variant.inputs) is None and not takes_words(variant.inputs):
        yield "the inputs are not input_ids, attention_mask and token_type_ids, or word ids alone, int32 [1, length]"
    if vocabulary is None:
        yield "the file has no vocabulary; export it with --tokenizer"


def _output_problems(variant: MobileVariant) -> Iterator[str]:
    for spec in variant.outputs:
        if spec.dtype not in _TYPES:
            yield f"{spec.name} is {spec.dtype}"
    if len({spec.dtype for spec in variant.outputs}) > 1:
        yield "some outputs are uint8, and others are not"


def _class_problems(variant: MobileVariant) -> Iterator[str]:
    for spec in variant.outputs:
        if math.prod(size or 0 for size in spec.shape[:-1]) != 1:
            yield f"{spec} has more than one number per class"


def kinds(model: MobileModel) -> tuple[str, ...]:
    """Return the tasks for the model's kind of inputs: those of images, those of tokens, or none."""
    inputs = model.variants[0].inputs
    if any(Image.of(spec) for spec in inputs):
        return IMAGE_TASKS
    are_tokens = all(spec.dtype == "int32" and len(spec.dims) == 2 for spec in inputs)
    return TEXT_TASKS if inputs and are_tokens else ()
