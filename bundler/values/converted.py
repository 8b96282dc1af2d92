"""A converted model, as every converter hands it on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bundler.values.signature import Signature

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
