"""The extras of tfbundle: which packages a feature needs, and the one sentence that names those that are missing.

`pip install tfbundle` installs what a client needs. A feature that needs more calls `require` before it imports anything; so the
user reads a command to run, and not a traceback. The table repeats pyproject.toml, as an installation without an extra does not
know what the extra has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from serving.errors import MissingExtraError

INCLUDED = {
    "serve": (), "onnx": ("serve",), "build": ("onnx",), "timm": ("build",), "hf": ("build",), "demo": ("build",),
    "images": (), "plots": (), "async": (), "oci": (), "otel": (), "remote": (), "s3": ("remote",), "gcs": ("remote",),
    "sign": (), "mlflow": (), "ray": (),
}  # fmt: skip
"""The extras that an extra includes."""

PACKAGES = {
    "serve": {
        "tensorflow": "tensorflow", "ai-edge-litert": "ai_edge_litert", "aiohttp": "aiohttp", "ml-dtypes": "ml_dtypes",
        "grpcio-health-checking": "grpc_health", "grpcio-reflection": "grpc_reflection",
    },
    "onnx": {"networkx": "networkx", "onnx": "onnx", "onnx-ir": "onnx_ir", "onnxruntime": "onnxruntime"},
    "build": {"torch": "torch", "onnxscript": "onnxscript", "safetensors": "safetensors"},
    "timm": {"timm": "timm"},
    "hf": {"transformers": "transformers", "huggingface-hub": "huggingface_hub", "tokenizers": "tokenizers"},
    "images": {"pillow": "PIL"},
    "plots": {"matplotlib": "matplotlib"},
    "async": {"aiohttp": "aiohttp", "yarl": "yarl"},
    "oci": {"oras": "oras", "requests": "requests"},
    "otel": {
        "opentelemetry-api": "opentelemetry.trace", "opentelemetry-sdk": "opentelemetry.sdk.trace",
        "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
    },
    "remote": {"fsspec": "fsspec"},
    "s3": {"s3fs": "s3fs"},
    "gcs": {"gcsfs": "gcsfs"},
    "sign": {
        "model-signing": "model_signing", "sigstore": "sigstore", "in-toto-attestation": "in_toto_attestation",
        "cryptography": "cryptography", "pyopenssl": "OpenSSL", "cyclonedx-python-lib": "cyclonedx",
        "packageurl-python": "packageurl",
    },
    "mlflow": {"mlflow-skinny": "mlflow", "pandas": "pandas"},
    "ray": {"ray": "ray"},
    "demo": {"scikit-learn": "sklearn", "transformers": "transformers", "tokenizers": "tokenizers"},
}  # fmt: skip
"""The packages that an extra adds, by their name for pip, with the module that each provides."""


def packages_of(extra: str) -> Iterator[tuple[str, str]]:
    """Yield (package, module) of an extra, then those of the extras that it includes."""
    yield from PACKAGES[extra].items()
    for included in INCLUDED[extra]:
        yield from packages_of(included)


def is_installed(module: str) -> bool:
    """Return whether a module could be imported. A folder that an uninstalled package left behind does not count."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def missing(extra: str) -> list[str]:
    """Return the names of an extra's packages that are not installed."""
    return [package for package, module in packages_of(extra) if not is_installed(module)]


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'tfbundle[{extra}]'"


def require(extra: str, purpose: str) -> None:
    """Raise if a package of an extra is not installed.

    Args:
        extra: the extra.
        purpose: the feature that needs it, as the subject of the message.

    Raises:
        MissingExtraError: a package is not installed; the message has the command that installs it.
    """
    names = missing(extra)
    if names:
        raise MissingExtraError(", ".join(names), extra, purpose=purpose)


class Owner(NamedTuple):
    """The extra that has a package."""

    extra: str
    package: str


def owner(module: str) -> Owner | None:
    """Return the extra of a module that is not installed; None if it is installed, or belongs to no extra."""
    top = module.partition(".")[0]
    for extra, packages in PACKAGES.items():
        for package, provided in packages.items():
            if provided.partition(".")[0] == top and not is_installed(provided):
                return Owner(extra, package)
    return None
