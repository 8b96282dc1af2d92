"""Builds the metadata of a .tflite file: each tensor's name, dims, content type, normalization and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.errors import TfliteError
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.mobile.vocabulary import WORD_ENDS, Vocabulary
from bundler.tflite import metadata_schema as schema
from bundler.values.signature import TensorSpec

IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Labels:
    """Labels of the entries along the last axis of an output.

    Attributes:
        output: the output.
        names: the labels.
        file: name of the associated file that holds the labels, one per line.
    """

    output: str
    names: tuple[str, ...]
    file: str = "labels.txt"

    @property
    def content(self) -> bytes:
        """Content of the associated file."""
        return "".join(f"{name}\n" for name in self.names).encode()


@dataclass(frozen=True)
class Image:
    """The sizes of an image input, and whether the channels come first."""

    height: int
    width: int
    channels: int
    channels_first: bool

    @classmethod
    def of(cls, spec: TensorSpec) -> Image | None:
        """Return the image that a tensor holds, or None if it does not have four fixed dims and 1 or 3 channels."""
        if len(spec.dims) != 4 or not all(isinstance(size, int) for size in spec.dims):
            return None
        _, *sizes = (int(size) for size in spec.dims if isinstance(size, int))
        if sizes[-1] in IMAGE_CHANNELS and sizes[0] not in IMAGE_CHANNELS:
            return cls(sizes[0], sizes[1], sizes[2], False)
        return cls(sizes[1], sizes[2], sizes[0], True) if sizes[0] in IMAGE_CHANNELS else None

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes after the batch."""
        return ("channels", "height", "width") if self.channels_first else ("height", "width", "channels")


def preparation_steps(preprocessing: Preprocessing, image: Image) -> tuple[str, ...]:
    """Return what an app does with a decoded image, in order, for readers."""
    size, resize = f"{image.height}x{image.width}", preprocessing.resize
    color = "grey, (19595 R + 38470 G + 7471 B + 32768) >> 16" if image.channels == 1 else preprocessing.channels.upper()
    filtered = f"{preprocessing.interpolation}, {'unfiltered' if preprocessing.interpolation == 'nearest' else 'antialiased'}"
    if not preprocessing.crop:
        resized = [f"resize the whole image to {size} (height x width; {filtered})"]
    else:
        side = f"the shorter side to {resize}" if isinstance(resize, int) else "to {}x{}".format(*(resize or ()))
        resized = [f"resize {side} ({filtered})", f"cut {size} (height x width) from the middle"]
    mean, std = ([float(f"{value:.9g}") for value in values] for values in (preprocessing.mean, preprocessing.std))
    normalized = f"normalize pixels of 0 to 255: (pixel - mean) / std, with mean {mean} and std {std}"
    return (
        *resized,
        f"channels: {color}",
        "pass pixels of 0 to 255 as they are" if preprocessing.takes_pixels else normalized,
        f"layout: {', '.join(image.axes)}",
    )


def model_metadata(
    model: MobileModel, variant: MobileVariant, labels: Labels | None, tensors: Tensors, vocabulary: Vocabulary | None = None
) -> dict[str, Any]:
    """Return a ModelMetadata table (see `bundler.tflite.metadata_schema`) for one file.

    Args:
        model: the model.
        variant: the file's variant.
        labels: labels of an output, if any.
        tensors: names of the file's tensors in the order of its first subgraph.
        vocabulary: the vocabulary of the model's tokens, if any.
    """
    inputs, outputs = ({spec.name: spec for spec in side} for side in (variant.inputs, variant.outputs))
    dims = {spec.name: spec.dims for spec in (*model.signature.inputs, *model.signature.outputs)}
    graph: dict[str, Any] = {
        "name": "serving_default",
        "input_tensor_metadata": [_input(inputs[n], dims[n], model.preprocessing, variant.remark(n)) for n in tensors.inputs],
        "output_tensor_metadata": [_output(outputs[n], dims[n], labels, variant.remark(n)) for n in tensors.outputs],
    }
    if vocabulary is not None:
        _add_tokenizer(graph, vocabulary, tensors)
    return {
        "name": model.name,
        "description": f"{model.source}, version {model.version}, TFLite {variant.name}",
        "version": str(model.version),
        "subgraph_metadata": [graph],
        "min_parser_version": schema.TOKENIZER_PARSER_VERSION if vocabulary else schema.MIN_PARSER_VERSION,
    }


def _add_tokenizer(graph: dict[str, Any], vocabulary: Vocabulary, tensors: Tensors) -> None:
    tables = graph["input_tensor_metadata"]
    if vocabulary.roles:
        file = {"name": vocabulary.file, "description": "Tokens by id, one per line.", "type": schema.VOCABULARY}
        for name, table in zip(tensors.inputs, tables, strict=True):
            table["name"] = vocabulary.roles[name]  # readers look for these names
        graph["input_process_units"] = [{"options": {"BertTokenizerOptions": {"vocab_file": [file]}}}]
    else:
        file = {"name": vocabulary.file, "description": "A word and its id per line.", "type": schema.VOCABULARY}
        options = {"delim_regex_pattern": WORD_ENDS, "vocab_file": [file]}
        tables[0]["process_units"] = [{"options": {"RegexTokenizerOptions": options}}]


def _input(spec: TensorSpec, dims: Sequence[Any], preprocessing: Preprocessing | None, remark: str) -> dict[str, Any]:
    image = Image.of(spec)
    table = _tensor(spec, dims, image, remark)
    if image is None:
        return table
    if not image.channels_first:
        # Readers assume that an image has the axes height, width, channels.
        space = _color_space(image, preprocessing)
        size = {"width": image.width, "height": image.height}
        table["content"] = {"content_properties": {"ImageProperties": {"color_space": space, "default_size": size}}}
    if preprocessing is not None:
        pairs = _pairs(preprocessing)
        mean, std = ([pair[side] for pair in pairs] for side in (0, 1))  # readers expect as many means as deviations
        table["process_units"] = [{"options": {"NormalizationOptions": {"mean": mean, "std": std}}}]
        table["stats"] = {"max": [(255 - m) / s for m, s in pairs], "min": [(0 - m) / s for m, s in pairs]}
        table["description"] += f"; {'; '.join(preparation_steps(preprocessing, image))}"
    return table


def _color_space(image: Image, preprocessing: Preprocessing | None) -> int:
    """Return a ColorSpaceType; there is none for BGR, and readers would feed RGB to a model that is said to take it."""
    if image.channels == 1:
        return schema.GRAYSCALE
    return schema.UNKNOWN if preprocessing and preprocessing.channels == "bgr" else schema.RGB


def _pairs(preprocessing: Preprocessing) -> list[tuple[float, float]]:
    count = max(len(preprocessing.mean), len(preprocessing.std))
    mean, std = (tuple(v) * count if len(v) == 1 else tuple(v) for v in (preprocessing.mean, preprocessing.std))
    return list(zip(mean, std, strict=True))


def _output(spec: TensorSpec, dims: Sequence[Any], labels: Labels | None, remark: str) -> dict[str, Any]:
    table = _tensor(spec, dims, None, remark)
    if labels is not None and labels.output == spec.name:
        file = {"name": labels.file, "description": "Class names, one per line.", "type": schema.TENSOR_AXIS_LABELS}
        table["associated_files"] = [file]
    return table


def _tensor(spec: TensorSpec, dims: Sequence[Any], image: Image | None, remark: str) -> dict[str, Any]:
    names = [_dim_name(axis, dims) for axis in range(len(spec.dims))]
    if image is not None:
        names = ["batch", *image.axes]
    return {
        "name": spec.name,
        "description": f"{spec.dtype} [{', '.join(map(str, spec.dims))}]{f'; {remark}' if remark else ''}",
        "dimension_names": names,
        "content": {"content_properties": {"FeatureProperties": {}}},
    }


def _dim_name(axis: int, dims: Sequence[Any]) -> str:
    """Return the model's name of a dynamic dim, or a name made of its index."""
    dim = dims[axis] if axis < len(dims) else None
    return dim if isinstance(dim, str) else f"dim_{axis}"


@dataclass(frozen=True)
class Tensors:
    """Names in a file's signature, in the order of its first subgraph, which is the order of the metadata."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, content: bytes) -> Tensors:
        """Read the names from a .tflite file.

        Raises:
            TfliteError: a tensor of the first subgraph has no name in its signature.
        """
        from ai_edge_litert import schema_py_generated as tflite

        model = tflite.Model.GetRootAs(content, 0)
        graph = model.Subgraphs(0)
        signatures = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        signature = next((candidate for candidate in signatures if candidate.SubgraphIndex() == 0), None)
        if signature is None:
            raise TfliteError("The file has no signature.", code="TFB4502")
        inputs = {m.TensorIndex(): m.Name() for m in map(signature.Inputs, range(signature.InputsLength()))}
        outputs = {m.TensorIndex(): m.Name() for m in map(signature.Outputs, range(signature.OutputsLength()))}
        return cls(_names(graph.InputsAsNumpy(), inputs), _names(graph.OutputsAsNumpy(), outputs))


def _names(indices: Any, by_index: Mapping[int, bytes]) -> tuple[str, ...]:
    tensors = [] if isinstance(indices, int) else [int(index) for index in indices]
    if any(index not in by_index for index in tensors):
        raise TfliteError("A tensor of the file has no name in its signature.", code="TFB4502")
    return tuple(by_index[index].decode() for index in tensors)
