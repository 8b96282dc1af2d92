"""ONNX -> TensorFlow: what a converter is, and which are installed (entry-point group `tfbundle.converters`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bundler.errors import UsageError
from bundler.signature import Signature
from bundler.spec import Layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bundler.converters.native.registry import HandlerTable

    Array = npt.NDArray[np.generic]

SERVING_DEFAULT = "serving_default"


class ConvertedModel(Protocol):
    """A model that runs in TensorFlow: one callable a signature, over shared variables."""

    signatures: Mapping[str, Signature]
    """What is served: names, dtypes and dims, `serving_default` first."""

    permutations: Mapping[str, tuple[int, ...]]
    """For layout nhwc: input name -> axes that bring PyTorch's array into the served order. Empty for keep."""

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Run serving_default on arrays or tensors; outputs by name."""

    def save(self, path: Path) -> None:
        """Write a SavedModel (saved_model.pb, variables/) into the new folder `path`."""

    def static(self, shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
        """serving_default as a tf ConcreteFunction lowered anew for TFLite with these input shapes.

        None leaves a dim dynamic: TFLite can resize it. Delegates do best where all are static.
        """


class Converter(Protocol):
    name: str
    max_opset: int | None
    """Newest ONNX opset it reads; None: all."""

    def convert(self, models: Mapping[str, Path], *, layout: Layout = "keep") -> ConvertedModel:
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
        raise UsageError(f"There is no converter {name!r}.", fix=f"one of: {', '.join(sorted(found))}")
    converter: Converter = found[name].load()()
    return converter
