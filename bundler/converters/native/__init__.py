"""Our engine: ONNX -> TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.spec.bundle_spec import SignatureLayout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir as ir

    from bundler.converters.native.model import NativeModel
    from bundler.converters.native.registry import HandlerTable


class NativeConverter:
    """The default converter: reads every opset from 6 on.

    Args:
        handlers: what lowers the nodes; default: our own and those of installed packages.
    """

    name = "native"
    max_opset: int | None = None

    def __init__(self, handlers: HandlerTable | None = None) -> None:
        self._handlers = handlers

    def with_handlers(self, handlers: HandlerTable) -> NativeConverter:
        """This converter with other handlers."""
        return NativeConverter(handlers)

    def convert(self, models: Mapping[str, Path], *, layout: SignatureLayout = "keep") -> NativeModel:
        """One ONNX file a signature, `serving_default` first, into one model with shared weights.

        Raises:
            UnsupportedOpsError: operators without a handler, all of them, with the user's source lines.
            UsageError, SourceError: the handlers of an installed package cannot be had.
            ConversionError: a file is no valid ONNX, or a node cannot be lowered.
        """
        from bundler.converters.native.model import NativeModel
        from bundler.graph.load import load
        from bundler.graph.normalize import normalize

        handlers = self._handlers or _installed()
        return NativeModel(
            {name: normalize(load(path)) for name, path in models.items()}, layout=layout, handlers=handlers
        )


def _installed() -> HandlerTable:
    from bundler.converters.native.plugins import installed

    return installed().handlers


def run_intermediates(
    onnx_path: Path, inputs: Mapping[str, npt.NDArray[Any]], handlers: HandlerTable | None = None
) -> Iterator[tuple[str, ir.Node, npt.NDArray[np.generic]]]:
    """Run a model eagerly, node by node: each value's name, the node that made it, and the array in ONNX's axis order."""
    from bundler.converters.native.model import run_eagerly
    from bundler.graph.load import load
    from bundler.graph.normalize import normalize

    yield from run_eagerly(normalize(load(onnx_path)), inputs, handlers or _installed())
