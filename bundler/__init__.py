"""tfbundle: PyTorch models as versioned TensorFlow Serving SavedModels and TFLite files.

    import bundler

    bundle = bundler.build("model.py:make", out="dist/digits", tflite=("float16",))
    bundle.verify()

Importing this package imports neither torch nor TensorFlow; the functions do when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundler import errors
from bundler.pipeline import build, convert

if TYPE_CHECKING:
    from bundler.validation.bundle import Bundle

    __version__: str

__all__ = ["Bundle", "__version__", "build", "convert", "errors"]


def __getattr__(name: str) -> Any:
    if name == "Bundle":
        from bundler.validation.bundle import Bundle

        return Bundle
    if name == "__version__":
        from importlib.metadata import version

        return version("tfbundle")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
