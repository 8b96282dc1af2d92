"""Loads a model from the source that a string names: one module per kind of source.

A new source is a module with `load(model, base=…) -> LoadedModel` and a row in `SOURCES`. Nothing here imports torch; the
module of a source is imported when a string has its form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from bundler.errors import UsageError
from bundler.process.extras import require
from bundler.values.fixed_dims import FixedDims

if TYPE_CHECKING:
    import torch

    from bundler.sources.binding import Binding
    from bundler.spec.bundle_spec import ModelSpec
    from bundler.values.arrays import Array
    from bundler.values.signature import TensorSpec


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model with example inputs.

    Attributes:
        module: the model, in eval mode; None for an ONNX file.
        onnx: the ONNX file; None for every other source.
        example_inputs: arrays by input name, in the model's order.
        input_specs: names, dtypes and dims in the same order; named dims are dynamic.
        provenance: source string, file and its sha256, class, number of parameters and more, for bundle.json.
        binding: how the inputs are passed to `forward`; None if there is no Python `forward`.
        fixed_dims: the dims of the inputs that have one size, with the reasons.
    """

    module: torch.nn.Module | torch.export.ExportedProgram | torch.jit.ScriptModule | None
    onnx: Path | None
    example_inputs: dict[str, Array]
    input_specs: tuple[TensorSpec, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    binding: Binding | None = None
    fixed_dims: FixedDims = field(default_factory=FixedDims)


@dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
        form: the form of its strings, as shown to users.
        matches: whether a string has this form.
        module: the module of this package that loads it.
        extra: the extra of tfbundle that a build of it needs.
    """

    form: str
    matches: Callable[[str], bool]
    module: str
    extra: str = "build"


def _suffix(*suffixes: str) -> Callable[[str], bool]:
    return lambda text: PurePath(text).suffix.lower() in suffixes


def _prefix(prefix: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(prefix)


def _python(text: str) -> bool:
    return text.rpartition(":")[0].endswith(".py")


SOURCES: tuple[Source, ...] = (
    Source("timm:NAME (an architecture of timm)", _prefix("timm:"), "timm_model", "timm"),
    Source("hf:NAME_OR_PATH (a transformers checkpoint or its folder)", _prefix("hf:"), "huggingface", "hf"),
    Source("file.py:callable (returns a module, or module and example inputs)", _python, "python_file"),
    Source("model.pt2 (torch.export)", _suffix(".pt2"), "exported_program"),
    Source("model.onnx", _suffix(".onnx"), "onnx_file", "onnx"),
    Source(
        "weights.pt, .pth, .bin, .ckpt or .safetensors (with --architecture file.py:callable), or TorchScript",
        _suffix(".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".ts", ".torchscript"),
        "torch_file",
    ),
)


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load the model that `model.source` names.

    Args:
        model: the source, and the user's settings for inputs and weights.
        base: the folder that relative paths start from.

    Raises:
        UsageError: the source is unknown, or a setting does not apply to it.
        SourceError: the model cannot be loaded or does not run on its example inputs.
        MissingExtraError: the source needs a package that is not installed.
    """
    loader = import_module(f"bundler.sources.{find_source(model.source).module}")
    loaded: LoadedModel = loader.load(model, base=base)
    return loaded


def is_onnx(text: str) -> bool:
    """Return True if a source string names an ONNX file.

    Raises:
        UsageError: the source is unknown.
    """
    return find_source(text).module == "onnx_file"


def require_packages(text: str) -> None:
    """Raise MissingExtraError if a package that a build of a source needs is not installed; a module is a source like a file."""
    extra = next((source.extra for source in SOURCES if source.matches(text)), "build")
    require(extra, f"A build from {text}")


def find_source(text: str) -> Source:
    """Return the kind of source that a string names.

    Raises:
        UsageError: the source is unknown.
    """
    for source in SOURCES:
        if source.matches(text):
            return source
    if text.endswith(".py"):
        raise UsageError(
            f"The source {text!r} names no callable.",
            fix=f"add its callable, such as {text}:make_model",
            code="TFB2001",
        )
    forms = "\n         ".join(source.form for source in SOURCES)
    raise UsageError(f"Unknown source {text!r}.", fix=f"use one of these forms:\n         {forms}", code="TFB2001")
