"""`file.py:callable`: the user's own Python code makes the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bundler.errors import SourceError, UsageError
from bundler.sources import LoadedModel
from bundler.sources.files import file_provenance, find_file
from bundler.sources.module import from_module
from bundler.sources.user_code import import_file, user_code
from bundler.sources.weights import load_weights
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec

_RETURNS = "return a torch.nn.Module, or (module, example_inputs) with a tensor, a tuple or a dict by parameter name"


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Call the callable, and load `model.weights`, if given, into the module.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        SourceError: the file or callable does not exist, raises, or returns something other than a model.
        UsageError: the source is not of the form file.py:callable.
    """
    module, examples, provenance = make_module(model.source, base)
    if model.weights:
        provenance["weights"] = load_weights(module, model.weights, base, trust=model.trust_pickle)
    specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(module, examples=examples, inputs=specs, provenance={"source": model.source, **provenance})


def make_module(reference: str, base: Path) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return the module that `file.py:callable` makes.

    Args:
        reference: the file and a callable in it, which may be dotted (`Models.small`), a class, or a module that is made when
            the file is imported.
        base: the folder that a relative path starts from.

    Returns:
        The module, its example inputs or None, and the provenance of the file.

    Raises:
        SourceError: the file or callable does not exist, raises, or returns something other than a model.
        UsageError: the reference is not of the form file.py:callable.
    """
    file, _, name = reference.rpartition(":")
    if not file.endswith(".py") or not name:
        raise UsageError(
            f"{reference!r} is not of the form file.py:callable.",
            fix="give a file and a callable, such as model.py:make_model",
            code="TFB2001",
        )
    path = find_file(file, base, what="The Python file")
    target: Any = import_file(path)
    for part in name.split("."):
        if not hasattr(target, part):
            raise SourceError(f"{file} has no {name!r}.", where=str(path), fix=_callables(target, path), code="TFB2003")
        target = getattr(target, part)
    result = target if isinstance(target, nn.Module) else _call(target, reference)
    module, examples = _unpack(result, reference)
    return module, examples, file_provenance(path)


def _call(target: Any, reference: str) -> Any:
    if not callable(target):
        raise SourceError(
            f"{reference} has the type {type(target).__name__}, which cannot be called.", fix=_RETURNS, code="TFB2003"
        )
    with user_code(f"{reference} raised", fix="correct it, so that it can be called without arguments"):
        return target()


def _unpack(result: Any, reference: str) -> tuple[nn.Module, Any]:
    if isinstance(result, nn.Module):
        return result, None
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], nn.Module):
        return result[0], result[1]
    kind = f"({', '.join(type(v).__name__ for v in result)})" if isinstance(result, tuple) else type(result).__name__
    raise SourceError(f"{reference} returned {kind}, which is not a model.", fix=_RETURNS, code="TFB2003")


def _callables(module: Any, path: Path) -> str:
    names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
    return f"choose a callable of {path.name}: {', '.join(names)}" if names else f"define a callable in {path.name}"
