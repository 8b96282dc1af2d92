"""ONNX -> TensorFlow: what a converter is, and which are installed (entry-point group `tfbundle.converters`)."""

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
    name: str
    max_opset: int | None
    """Newest ONNX opset it reads; None: all."""

    def convert(self, models: Mapping[str, Path], *, layout: SignatureLayout = "keep") -> ConvertedModel:
        """Convert one ONNX file a signature (`serving_default` first) into one model.

        Raises:
            ConversionError: with the node, its shapes and the line of the user's model.
        """


@runtime_checkable
class ExtensibleConverter(Converter, Protocol):
    """A converter that takes handlers of the user's own (`--ops`)."""

    def with_handlers(self, handlers: HandlerTable) -> Converter:
        """This converter with these handlers in place of the ordinary ones."""


def load_converter(name: str) -> Converter:
    """The installed converter of this name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    found = {e.name: e for e in entry_points(group="tfbundle.converters")}
    if name not in found:
        suggestion = did_you_mean(name, found)
        raise UsageError(
            f"converter: {name!r} is not one of {', '.join(sorted(found))}{suggestion}",
            fix="install the package of the converter, or choose another one",
        )
    converter: Converter = found[name].load()()
    return converter
