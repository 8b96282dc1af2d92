"""The interface of a converted model, whichever converter made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bundler.values.image_form import ImageForm
from bundler.values.signature import Signature
from serving.notebook import html_table

SERVING_DEFAULT = "serving_default"


def signatures_text(model: ConvertedModel) -> str:
    """Return a model's signatures in one line: `NativeModel(serving_default: x=float32[batch,4] -> y=float32[batch,3])`."""
    lines = (f"{name}: {inputs} -> {outputs}" for name, inputs, outputs in _rows(model))
    return f"{type(model).__name__}({'; '.join(lines)})"


def signatures_html(model: ConvertedModel) -> str:
    """Return a model's signatures as a table, which notebooks show."""
    return html_table(type(model).__name__, ("signature", "inputs", "outputs"), _rows(model))


def _rows(model: ConvertedModel) -> list[tuple[str, str, str]]:
    return [
        (name, ", ".join(map(str, signature.inputs)), ", ".join(map(str, signature.outputs)))
        for name, signature in model.signatures.items()
    ]


class ConvertedModel(Protocol):
    """A model in TensorFlow: one callable per signature, over shared variables."""

    signatures: Mapping[str, Signature]
    """The served signatures: names, dtypes and dims, `serving_default` first."""

    permutations: Mapping[str, tuple[int, ...]]
    """Axes that bring PyTorch's array into the served order, by input name (layout nhwc); empty for layout keep."""

    def __call__(self, /, **inputs: Any) -> dict[str, Any]:
        """Run serving_default on arrays or tensors, and return the outputs by name."""

    def save(self, path: Path) -> None:
        """Write a SavedModel (saved_model.pb, variables/) into the new folder `path`."""

    def static(self, shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
        """Return serving_default as a tf ConcreteFunction, lowered again for TFLite with these input shapes.

        A dim that is None stays dynamic: TFLite can resize it. Delegates work best if all dims are static.
        """


@runtime_checkable
class TakesImages(Protocol):
    """A converted model that can take an image input in another form itself, with less to compute than in front of it."""

    def static_image(self, shapes: Mapping[str, tuple[int | None, ...]], image: ImageForm) -> Any:
        """Return serving_default as `ConvertedModel.static` does, with the image input in the form, which its shape has, too."""
