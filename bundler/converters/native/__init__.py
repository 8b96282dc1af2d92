"""The native engine: converts ONNX to TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.spec.bundle_spec import SignatureLayout
from bundler.values.arrays import Array

if TYPE_CHECKING:
    import onnx_ir as ir

    from bundler.converters.native.model import NativeModel
    from bundler.converters.native.registry import HandlerTable
    from bundler.values.converted import ConvertedModel


class NativeConverter:
    """The default converter; it reads every opset.

    Args:
        handlers: the handlers that lower the nodes; default: the built-in ones and those of installed packages.
    """

    name = "native"
    max_opset: int | None = None

    def __init__(self, handlers: HandlerTable | None = None) -> None:
        self._handlers = handlers

    def with_handlers(self, handlers: HandlerTable) -> NativeConverter:
        """Return a converter with other handlers."""
        return NativeConverter(handlers)

    def convert(self, models: Mapping[str, Path], *, layout: SignatureLayout = "keep") -> NativeModel:
        """Convert ONNX files into one model with shared weights.

        Args:
            models: one file per signature, `serving_default` first.
            layout: `nhwc` takes image inputs with their channels last.

        Raises:
            UnsupportedOpsError: operators have no handler; the error lists all of them with the user's source lines.
            UsageError, SourceError: the handlers of an installed package cannot be loaded.
            ConversionError: a file is not valid ONNX, or a node cannot be lowered.
        """
        from bundler.converters.native.model import NativeModel
        from bundler.graph.load import load
        from bundler.graph.normalize import normalize

        handlers = self._handlers or _installed()
        return NativeModel(
            {name: normalize(load(path)) for name, path in models.items()}, layout=layout, handlers=handlers
        )

    def in_bfloat16(self, model: ConvertedModel) -> NativeModel:
        """Return a converted model with its dense products in bfloat16, without derived signatures.

        Raises:
            ConversionError: the model has no float32 products.
        """
        from bundler.converters.native.model import NativeModel
        from bundler.converters.native.retype import Bfloat16Model

        assert isinstance(model, NativeModel)
        return Bfloat16Model(model)


def _installed() -> HandlerTable:
    from bundler.converters.native.plugins import installed

    return installed().handlers


def run_intermediates(
    onnx_path: Path, inputs: Mapping[str, Array], handlers: HandlerTable | None = None
) -> Iterator[tuple[str, ir.Node, Array]]:
    """Run an ONNX file eagerly, node by node.

    Yields:
        Each value's name, the node that produced it, and the array in ONNX's axis order.
    """
    from bundler.converters.native.model import run_eagerly
    from bundler.graph.load import load
    from bundler.graph.normalize import normalize

    yield from run_eagerly(normalize(load(onnx_path)), inputs, handlers or _installed())
