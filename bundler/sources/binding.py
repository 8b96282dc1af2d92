"""Maps a flat list of named tensors to the arguments of `forward`.

Inputs are named after the parameters of `forward`, in its order. A tensor inside a container has the name of the container,
followed by `.key` for a dict key or field and by `_0`, `_1` … for a position: `image`, `tokens.ids`, `states_0`. Values in an
example that are not tensors (numbers, strings, None) are passed unchanged.
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
from torch.nn.utils.rnn import PackedSequence

from bundler.errors import SourceError, UsageError
from bundler.sources.tensors import to_torch
from bundler.values.signature import TensorSpec

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Slot:
    """The place of the flat tensor with this index."""

    index: int


@dataclass(frozen=True)
class Binding:
    """The flat input names, and the arguments of a call with a Slot in place of each tensor.

    Attributes:
        names: the input names.
        args: the positional arguments.
        kwargs: the keyword arguments.
    """

    names: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def call(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments with the tensors, in the order of `names`, in their places."""
        args = tuple(_fill(value, tensors) for value in self.args)
        return args, {name: _fill(value, tensors) for name, value in self.kwargs.items()}


def parameters(module: torch.nn.Module, method: str = "forward") -> list[inspect.Parameter]:
    """Return the parameters of a method without self; for TorchScript, those of its schema.

    Raises:
        UsageError: the module has no such method.
    """
    function = getattr(module, method, None)
    if not callable(function):
        methods = [n for n in vars(type(module)) if not n.startswith("_") and callable(getattr(module, n))]
        raise UsageError(
            f"The model's class {type(module).__name__} has no method {method!r}.",
            fix=f"choose one of its methods: {', '.join(sorted(methods)) or 'none'}",
            code="TFB1301",
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

    If `forward` has one parameter, a dict with several keys that are not parameters is its argument. A dict with one key is
    taken for an argument only inside a tuple, since the key may be a misspelt parameter.

    Args:
        params: the parameters of `forward`.
        example: the example inputs, nested or not.

    Returns:
        The binding, and the tensors of the example by flat name.

    Raises:
        SourceError: the example does not fit these parameters, or contains no tensor.
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
            f"The example inputs have the type {type(example).__name__}.",
            fix="return a tensor, a tuple of positional arguments, or a dict by parameter name",
            code="TFB2005",
        )
    args, kwargs = _arrange(params, positional, by_name)
    return _flatten_call(params, args, kwargs)


def bind_specs(params: Sequence[inspect.Parameter], specs: Sequence[TensorSpec]) -> Binding:
    """Bind flat inputs that are named after parameters, in the order of `forward`.

    Args:
        params: the parameters of `forward`.
        specs: one spec per input; `*args` takes those that are named after no parameter.

    Raises:
        SourceError: a spec names no parameter, or a required parameter has no spec.
    """
    by_name = {spec.name: Slot(index) for index, spec in enumerate(specs)}
    named = [p for p in params if p.kind not in _VARIADIC]
    positional: list[Any] = []
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in params) and not _has_kwargs(params):
        variadic = [name for name in by_name if name not in {p.name for p in named}]
        positional = [by_name.pop(p.name) for p in named if p.name in by_name and variadic]
        positional += [by_name.pop(name) for name in variadic]
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
    """Return a name that ONNX, TensorFlow and TF Serving all accept: letters, digits, `_`, `.`, `-` and `/`."""
    name = re.sub(r"[^A-Za-z0-9_.\-/]", "_", str(text))
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the named children of a dict, dataclass or named tuple, or None for anything else."""
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
    """Check the values against the signature as Python does, and put keywords into its order."""
    parameter_list = ", ".join(str(p) for p in params) or "nothing"
    signature = inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in params])
    try:
        bound = signature.bind(*positional, **by_name)
    except TypeError as exc:
        inputs = ", ".join(by_name) if by_name else f"{len(positional)} positional"
        raise SourceError(
            f"The inputs ({inputs}) do not fit the model's forward: {exc}.",
            fix=f"match the inputs to its parameters: {parameter_list}",
            code="TFB2006",
        ) from exc
    return _split(bound)


def _split(bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments; keywords where possible, so that parameters with defaults can be skipped."""
    params = bound.signature.parameters
    variadic = next((p.name for p in params.values() if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    if variadic is not None and bound.arguments.get(variadic):
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
    tensors: dict[str, Tensor] = {}
    names = list(_positional_names(params, len(args)))
    slotted = tuple(_slots(value, name, tensors) for value, name in zip(args, names, strict=True))
    by_name = {name: _slots(value, stable_name(name), tensors) for name, value in kwargs.items()}
    if not tensors:
        raise SourceError("The example inputs contain no tensor.", fix="give at least one tensor", code="TFB2005")
    return Binding(tuple(tensors), slotted, by_name), tensors


def _positional_names(params: Sequence[inspect.Parameter], count: int) -> Iterator[str]:
    not_positional = (*_VARIADIC, inspect.Parameter.KEYWORD_ONLY)
    named = [p.name for p in params if p.kind not in not_positional]
    variadic = next((p.name for p in params if p.kind is inspect.Parameter.VAR_POSITIONAL), "input")
    for index in range(count):
        yield named[index] if index < len(named) else f"{variadic}_{index - len(named)}"


def _slots(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return the value with a Slot in place of each tensor, and add the tensors to `tensors` by flat name."""
    if isinstance(value, (Tensor, np.ndarray)):
        if name in tensors:
            raise SourceError(
                f"Two inputs have the name {name!r}.", fix="rename a key of the example inputs", code="TFB1202"
            )
        tensors[name] = value if isinstance(value, Tensor) else to_torch(value)
        return Slot(len(tensors) - 1)
    if isinstance(value, PackedSequence):
        raise SourceError(
            f"The example input {name!r} is a PackedSequence, which is not a tensor that a client could send.",
            fix="let forward take the padded tensor and the lengths, and call pack_padded_sequence in it",
            code="TFB2005",
        )
    return _rebuild(value, lambda child, suffix: _slots(child, name + suffix, tensors))


def _fill(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, Slot):
        return tensors[value.index]
    return _rebuild(value, lambda child, _: _fill(child, tensors))


def _rebuild(value: Any, change: Callable[[Any, str], Any]) -> Any:
    """Return the same container with each child changed; `change` takes the child and its suffix of the flat name."""
    fields = fields_of(value)
    if fields is not None:
        children = {key: change(child, f".{stable_name(key)}") for key, child in fields.items()}
        if isinstance(value, Mapping):
            return children if type(value) is dict else type(value)(children)  # type: ignore[call-arg]
        return type(value)(**children)
    if type(value) in (tuple, list):
        return type(value)(change(child, f"_{index}") for index, child in enumerate(value))
    return value
