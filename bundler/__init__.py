"""tfbundle: PyTorch models as versioned TensorFlow Serving SavedModels and TFLite files.

    import bundler

    bundle = bundler.build("model.py:make", out="dist/digits", tflite=("float16",))
    bundle.verify()

Importing this package imports neither torch nor TensorFlow: its members are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bundler import errors

if TYPE_CHECKING:
    from bundler.pipeline import build, convert
    from bundler.validation.bundle import Bundle

    __version__: str

__all__ = ["Bundle", "__version__", "build", "convert", "errors"]

_MODULES = {"Bundle": "bundler.validation.bundle", "build": "bundler.pipeline", "convert": "bundler.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        try:
            return getattr(import_module(_MODULES[name]), name)
        except ImportError as exc:
            from bundler.process.extras import explained

            error = explained(exc, f"bundler.{name}")
            if error is None:
                raise
            raise error from exc
    if name == "__version__":
        from importlib.metadata import version

        return version("tfbundle")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
