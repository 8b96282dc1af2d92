"""How `forward` is called with a flat row of named tensors.

Names of inputs are the parameters of `forward`, in its order. A tensor inside a container has the
container's name, then `.key` for each dict key or field and `_0`, `_1` … for each position: `image`,
`tokens.ids`, `states_0`. Values in an example that are no tensors (numbers, strings, None) stay as they are.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bundler.errors import SourceError, UsageError
from bundler.sources.tensors import to_torch
from bundler.values.signature import TensorSpec

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Slot:
    """Where the flat tensor of this index belongs."""

    index: int


@dataclass(frozen=True)
class Binding:
    """The flat input names, and a call in which a Slot stands for each of them."""

    names: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def call(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with the tensors in their places."""
        args = tuple(_fill(value, tensors) for value in self.args)
        return args, {name: _fill(value, tensors) for name, value in self.kwargs.items()}


def parameters(module: torch.nn.Module, method: str = "forward") -> list[inspect.Parameter]:
    """The parameters of a method, without self; for TorchScript those of its schema, whose first is self.

    Raises:
        UsageError: the module has no such method.
    """
    function = getattr(module, method, None)
    if not callable(function):
        own = [n for n in vars(type(module)) if not n.startswith("_") and callable(getattr(module, n))]
        raise UsageError(
            f"The model's class {type(module).__name__} has no method {method!r}.",
            fix=f"methods it defines: {', '.join(sorted(own)) or 'none'}",
        )
    schema = getattr(function, "schema", None)
    if schema is None:
        return list(inspect.signature(function).parameters.values())
    return [_schema_parameter(argument) for argument in schema.arguments[1:]]


def _schema_parameter(argument: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(argument.name, kind, default=default)


def bind_example(params: Sequence[inspect.Parameter], example: Any) -> tuple[Binding, dict[str, Tensor]]:
    """Bind example inputs: a tensor, a tuple of positional arguments, or a dict by parameter name.

    A dict of several keys that are no parameters is the one argument of a `forward` that takes one; a dict of one
    key is such an argument only inside a tuple, since the key may be a mistake in the parameter's name.

    Returns:
        The binding, and the example's tensors by flat name.

    Raises:
        SourceError: the example cannot be passed to these parameters; the message names them.
    """
    if isinstance(example, (Tensor, np.ndarray)):
        example = (example,)
    by_name: Mapping[str, Any] = {}
    positional: Sequence[Any] = ()
    if isinstance(example, Mapping):
        by_name = example
        if not _accepts(params, example) and len(params) == 1 and len(example) > 1:
            by_name, positional = {}, (example,)
    elif isinstance(example, (tuple, list)):
        positional = tuple(example)
    else:
        raise SourceError(
            f"The example inputs are of the type {type(example).__name__}.",
            fix="give a tensor, a tuple of positional arguments, or a dict by parameter name",
        )
    args, kwargs = _arrange(params, positional, by_name)
    return _flatten_call(params, args, kwargs)


def bind_specs(params: Sequence[inspect.Parameter], specs: Sequence[TensorSpec]) -> Binding:
    """Bind flat inputs that are named after parameters; in `forward`'s own order.

    Raises:
        SourceError: a spec names no parameter, or a required one has no spec.
    """
    by_name = {spec.name: Slot(index) for index, spec in enumerate(specs)}
    known = [p for p in params if p.kind not in _VARIADIC]
    positional: list[Any] = []
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in params) and not _has_kwargs(params):
        named = {p.name for p in known}
        rest = [name for name in by_name if name not in named]
        positional = [by_name.pop(p.name) for p in known if p.name in by_name and rest]
        positional += [by_name.pop(name) for name in rest]
    args, kwargs = _arrange(params, positional, by_name)
    slots = [*args, *kwargs.values()]
    names = tuple(specs[slot.index].name for slot in slots)
    order = {slot.index: index for index, slot in enumerate(slots)}
    return Binding(
        names,
        tuple(Slot(order[slot.index]) for slot in args),
        {name: Slot(order[slot.index]) for name, slot in kwargs.items()},
    )


def stable_name(text: object) -> str:
    """A name that ONNX, TensorFlow and TF Serving all take: letters, digits, `_`, `.`, `-` and `/`."""
    name = re.sub(r"[^A-Za-z0-9_.\-/]", "_", str(text))
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """The named children of a dict, dataclass or named tuple; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return None


def _has_kwargs(params: Sequence[inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in params)


def _accepts(params: Sequence[inspect.Parameter], names: Mapping[str, Any]) -> bool:
    known = {p.name for p in params if p.kind not in _VARIADIC}
    return _has_kwargs(params) or all(name in known for name in names)


def _arrange(
    params: Sequence[inspect.Parameter], positional: Sequence[Any], by_name: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Check the values against the signature as Python would, and put keywords into its order."""
    text = ", ".join(str(p) for p in params) or "nothing"
    signature = inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in params])
    try:
        bound = signature.bind(*positional, **by_name)
    except TypeError as exc:
        given = ", ".join(by_name) if by_name else f"{len(positional)} positional"
        raise SourceError(
            f"The inputs ({given}) do not fit the model's forward: {exc}.", fix=f"it takes: {text}"
        ) from exc
    return _split(bound)


def _split(bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keywords wherever the signature allows them, so that defaults in between stay out of the way."""
    params = bound.signature.parameters
    rest = next((p.name for p in params.values() if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    if rest is not None and bound.arguments.get(rest):
        return bound.args, bound.kwargs
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = params[name].kind
        if kind is inspect.Parameter.POSITIONAL_ONLY:
            args.append(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            kwargs.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            kwargs[name] = value
    return tuple(args), kwargs


def _flatten_call(
    params: Sequence[inspect.Parameter], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Binding, dict[str, Tensor]]:
    found: dict[str, Tensor] = {}
    names = list(_positional_names(params, len(args)))
    slotted = tuple(_slots(value, name, found) for value, name in zip(args, names, strict=True))
    by_name = {name: _slots(value, stable_name(name), found) for name, value in kwargs.items()}
    if not found:
        raise SourceError("The example inputs hold no tensor.", fix="give at least one tensor")
    return Binding(tuple(found), slotted, by_name), found


def _positional_names(params: Sequence[inspect.Parameter], count: int) -> Iterator[str]:
    by_name_only = (*_VARIADIC, inspect.Parameter.KEYWORD_ONLY)
    named = [p.name for p in params if p.kind not in by_name_only]
    rest = next((p.name for p in params if p.kind is inspect.Parameter.VAR_POSITIONAL), "input")
    for index in range(count):
        yield named[index] if index < len(named) else f"{rest}_{index - len(named)}"


def _slots(value: Any, name: str, found: dict[str, Tensor]) -> Any:
    if isinstance(value, (Tensor, np.ndarray)):
        if name in found:
            raise SourceError(f"Two inputs have the name {name!r}.", fix="rename a key of the example inputs")
        found[name] = value if isinstance(value, Tensor) else to_torch(value)
        return Slot(len(found) - 1)
    return _rebuild(value, lambda child, suffix: _slots(child, name + suffix, found))


def _fill(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, Slot):
        return tensors[value.index]
    return _rebuild(value, lambda child, _: _fill(child, tensors))


def _rebuild(value: Any, change: Callable[[Any, str], Any]) -> Any:
    """The same container with each child changed; `change` gets the child and its part of the name."""
    fields = fields_of(value)
    if fields is not None:
        children = {key: change(child, f".{stable_name(key)}") for key, child in fields.items()}
        if isinstance(value, Mapping):
            return children if type(value) is dict else type(value)(children)  # type: ignore[call-arg]
        return type(value)(**children)
    if type(value) in (tuple, list):
        return type(value)(change(child, f"_{index}") for index, child in enumerate(value))
    return value
