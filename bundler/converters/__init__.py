"""Converters from ONNX to TensorFlow: their protocol, and those that are installed (entry-point group `tfbundle.converters`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bundler.errors import UsageError
from bundler.spec.bundle_spec import SignatureLayout
from bundler.spec.problems import did_you_mean
from bundler.values.converted import ConvertedModel

if TYPE_CHECKING:
    from bundler.converters.native.registry import HandlerTable


class Converter(Protocol):
    """Converts ONNX files to a TensorFlow model.

    Attributes:
        name: the name by which `--converter` selects it.
        max_opset: the newest ONNX opset that it reads; None for all.
    """

    name: str
    max_opset: int | None

    def convert(self, models: Mapping[str, Path], *, layout: SignatureLayout = "keep") -> ConvertedModel:
        """Convert ONNX files into one model.

        Args:
            models: one file per signature, `serving_default` first.
            layout: the order of the image inputs' axes.

        Raises:
            ConversionError: a file cannot be converted; with the node, its shapes and the line of the user's model.
        """


@runtime_checkable
class ExtensibleConverter(Converter, Protocol):
    """A converter that takes handlers of the user's own (`--ops`)."""

    def with_handlers(self, handlers: HandlerTable) -> Converter:
        """Return this converter with these handlers instead of its own."""


@runtime_checkable
class Bfloat16Converter(Converter, Protocol):
    """A converter that lowers models to bfloat16 (`--precision bfloat16`)."""

    def in_bfloat16(self, model: ConvertedModel) -> ConvertedModel:
        """Return a model of this converter with its dense products in bfloat16, without derived signatures.

        Raises:
            ConversionError: the model has no float32 products.
        """


def load_converter(name: str) -> Converter:
    """Return the installed converter of this name.

    Raises:
        UsageError: there is none; the message lists the installed ones.
    """
    entries = {entry.name: entry for entry in entry_points(group="tfbundle.converters")}
    if name not in entries:
        suggestion = did_you_mean(name, entries)
        raise UsageError(
            f"converter: {name!r} is not one of {', '.join(sorted(entries))}{suggestion}",
            fix="install the package of the converter, or choose another one",
            code="TFB1206",
        )
    converter: Converter = entries[name].load()()
    return converter
