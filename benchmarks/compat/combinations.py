"""The combinations of releases that `make compat` installs. Only the standard library is imported: nox reads this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Combination:
    """One environment.

    Attributes:
        name: what `nox -s compat -- NAME` selects.
        python: the interpreter's release.
        pins: the release of each package that varies; everything else is the newest that fits.
    """

    name: str
    python: str
    pins: Mapping[str, str]


COMBINATIONS = (
    Combination(
        "torch-2.8", "3.10",
        {
            "torch": "2.8.0", "tensorflow": "2.18.1", "tensorflow-serving-api": "2.18.1", "onnx": "1.18.0",
            "onnx-ir": "0.1.15", "onnxscript": "0.6.0", "onnxruntime": "1.23.2", "numpy": "1.26.4", "protobuf": "5.28.3",
        },
    ),
    Combination(
        "torch-2.10", "3.12",
        {
            "torch": "2.10.0", "tensorflow": "2.19.1", "tensorflow-serving-api": "2.19.1", "onnx": "1.19.1",
            "onnx-ir": "0.1.16", "onnxscript": "0.6.2", "onnxruntime": "1.24.4", "numpy": "2.1.3", "protobuf": "5.29.6",
        },
    ),
    Combination(
        "torch-2.12", "3.11",
        {
            "torch": "2.12.1", "tensorflow": "2.20.0", "tensorflow-serving-api": "2.20.0", "onnx": "1.21.0",
            "onnx-ir": "0.2.1", "onnxscript": "0.7.0", "onnxruntime": "1.27.0", "numpy": "2.3.5", "protobuf": "6.33.6",
        },
    ),
    Combination(
        "torch-2.14", "3.13",
        {
            "torch": "2.14.1", "tensorflow": "2.21.0", "tensorflow-serving-api": "2.21.0", "onnx": "1.23.2",
            "onnx-ir": "1.1.0", "onnxscript": "0.7.2", "onnxruntime": "1.32.0", "numpy": "2.4.6", "protobuf": "7.36.2",
        },
    ),
)  # fmt: skip
"""The oldest, two between and the newest release of every package, each with another Python."""

TEST_PACKAGES = ("pytest", "pytest-timeout", "hypothesis", "psutil", "tomli")
"""What the marked tests need beside the package and its extras."""


@dataclass(frozen=True)
class Loader:
    """An environment with nothing but a TensorFlow release, which loads SavedModels as TF Serving of that release does."""

    tensorflow: str
    python: str
    numpy: str

    @property
    def name(self) -> str:
        """Return what `nox -s tensorflow -- NAME` selects, e.g. `2.12`."""
        return ".".join(self.tensorflow.split(".")[:2])


LOADERS = (
    Loader("2.12.1", "3.10", "<1.24"),
    Loader("2.15.1", "3.10", "<2"),
    Loader("2.18.1", "3.11", "<2.1"),
    Loader("2.21.0", "3.12", ">=2"),
)


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the requested names, or all of them if none is requested.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"Unknown: {', '.join(unknown)}. Choose from: {', '.join(known)}.")
    return list(names or known)
