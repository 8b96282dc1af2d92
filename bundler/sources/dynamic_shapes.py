"""The `dynamic_shapes` of torch.export.export, turned into the named dims of tfbundle's inputs.

Per parameter of `forward` (a dict by name, or a tuple in its order) there is None, a dict from axis to dim, a list with one dim
per axis, or for a container of tensors the same container of these. A dim is:

    Dim("seq")              dynamic, with this name; dims of one name have one size
    "seq"                   the same, as torch.onnx.export takes it
    Dim.DYNAMIC, Dim.AUTO   dynamic: `batch` on the first axis, else named after the input and the axis
    Dim.STATIC, None, int   fixed to the example's size

The limits of a Dim (min, max) are not kept: a signature of TensorFlow has none. A first axis that has a Dim of any name in all
inputs is called `batch`, which is what batching and TFLite know it by.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from bundler.errors import UsageError
from bundler.sources.binding import Binding, Slot, fields_of
from bundler.sources.tensors import dtype_name
from bundler.spec.problems import did_you_mean
from bundler.values.signature import Dim, TensorSpec

_FIX = "give dynamic_shapes in the form that torch.export.export takes, e.g. {'x': {0: Dim('batch'), 1: Dim('seq')}}"


def to_specs(
    params: Sequence[inspect.Parameter], binding: Binding, tensors: Mapping[str, Tensor], dynamic_shapes: Any
) -> tuple[TensorSpec, ...]:
    """Return the inputs with the dims that `dynamic_shapes` makes dynamic.

    Args:
        params: the parameters of `forward`.
        binding: how the inputs are passed to `forward`.
        tensors: the example inputs by name.
        dynamic_shapes: as torch.export.export takes it.

    Raises:
        UsageError: it does not have the structure of the inputs, or has a dim that is computed from another one.
    """
    trees = _by_parameter(params, binding)
    dims: dict[str, dict[int, Dim]] = {}
    for tree, shapes, place in _pairs(trees, dynamic_shapes):
        for slot, shape, where in _leaves(tree, shapes, place):
            name = binding.names[slot.index]
            dims[name] = dict(_axes(name, tensors[name], shape, where))
    dims = _with_batch(dims)
    return tuple(
        TensorSpec(
            name,
            dtype_name(tensors[name]),
            tuple(dims.get(name, {}).get(axis, size) for axis, size in enumerate(map(int, tensors[name].shape))),
        )
        for name in binding.names
    )


def _by_parameter(params: Sequence[inspect.Parameter], binding: Binding) -> dict[str, Any]:
    """Return the call's arguments by parameter; those of *args together."""
    named = [p.name for p in params if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    trees: dict[str, Any] = dict(zip(named, binding.args, strict=False))
    rest = binding.args[len(named) :]
    if rest:
        variadic = next((p.name for p in params if p.kind is p.VAR_POSITIONAL), "input")
        trees[variadic] = tuple(rest)
    return {**trees, **binding.kwargs}


def _pairs(trees: Mapping[str, Any], shapes: Any) -> Iterator[tuple[Any, Any, str]]:
    if isinstance(shapes, Mapping):
        unknown = [key for key in shapes if key not in trees]
        if unknown:
            hint = did_you_mean(str(unknown[0]), trees)
            names = ", ".join(trees)
            raise UsageError(
                f"dynamic_shapes has {unknown[0]!r}, which is not an argument{hint}.",
                fix=f"use names of: {names}",
                code="TFB1207",
            )
        yield from ((tree, shapes.get(name), name) for name, tree in trees.items())
    elif isinstance(shapes, (tuple, list)):
        if len(shapes) != len(trees):
            what = f"dynamic_shapes has {len(shapes)} entries, but the model is called with {len(trees)}: {', '.join(trees)}."
            raise UsageError(what, fix=_FIX, code="TFB1207")
        yield from ((tree, shape, name) for (name, tree), shape in zip(trees.items(), shapes, strict=True))
    else:
        raise UsageError(
            f"dynamic_shapes has the type {type(shapes).__name__}, not dict, tuple or list.", fix=_FIX, code="TFB1207"
        )


def _leaves(tree: Any, shapes: Any, place: str) -> Iterator[tuple[Slot, Any, str]]:
    """Yield each tensor's place with its shape; the containers of both must be alike."""
    if isinstance(tree, Slot):
        yield tree, shapes, place
        return
    fields = fields_of(tree)
    children = dict(fields) if fields is not None else dict(enumerate(tree)) if isinstance(tree, (tuple, list)) else {}
    if not children or shapes is None:
        return
    own = fields_of(shapes)
    given = dict(own) if own is not None else dict(enumerate(shapes)) if isinstance(shapes, (tuple, list)) else {}
    unknown = [key for key in given if key not in children]
    if unknown or not given:
        raise UsageError(
            f"dynamic_shapes of {place!r} does not have the structure of that input: {shapes!r}.",
            fix=_FIX,
            code="TFB1207",
        )
    for key, child in children.items():
        yield from _leaves(child, given.get(key), f"{place}.{key}")


def _axes(name: str, tensor: Tensor, shape: Any, place: str) -> Iterator[tuple[int, Dim]]:
    if shape is None:
        return
    if isinstance(shape, (tuple, list)):
        if len(shape) != tensor.dim():
            raise UsageError(
                f"dynamic_shapes of {place!r} has {len(shape)} dims, but the input has {tensor.dim()}.",
                fix=_FIX,
                code="TFB1207",
            )
        shape = dict(enumerate(shape))
    if not isinstance(shape, Mapping):
        raise UsageError(
            f"dynamic_shapes of {place!r} is {shape!r}, which is not a dict, list or None.", fix=_FIX, code="TFB1207"
        )
    for axis, dim in shape.items():
        if type(axis) is not int or not -tensor.dim() <= axis < tensor.dim():
            what = f"dynamic_shapes of {place!r} has the axis {axis!r}, but the input has {tensor.dim()} axes."
            raise UsageError(what, fix=_FIX, code="TFB1207")
        index = axis % tensor.dim()
        text = _dim_name(dim, name, index, place)
        if text is not None:
            yield index, text


def _dim_name(dim: Any, name: str, axis: int, place: str) -> str | None:
    """Return the name of a dynamic dim, or None for a fixed one."""
    if dim is None or isinstance(dim, int):
        return None
    hint = getattr(getattr(dim, "type", dim), "name", None)  # an enum in torch 2.6, an object with one from 2.7 on
    if hint in ("DYNAMIC", "AUTO"):
        return "batch" if axis == 0 else re.sub(r"\W", "_", f"{name}_{axis}")
    if hint == "STATIC":
        return None
    text = dim if isinstance(dim, str) else getattr(dim, "__name__", "")
    if not text.isidentifier():  # the name of a derived dim is a formula: 2*seq
        raise UsageError(
            f"dynamic_shapes of {place!r} has the dim {text or dim!r} on axis {axis}, which is not a named size.",
            fix="give that axis a Dim of its own; sizes that depend on each other need not be declared",
            code="TFB1207",
        )
    return str(text)


def _with_batch(dims: Mapping[str, Mapping[int, Dim]]) -> dict[str, dict[int, Dim]]:
    """Call the dim of all first axes `batch`, unless another axis has it too or a dim has that name."""
    firsts = {of_input.get(0) for of_input in dims.values()}
    others = {dim for of_input in dims.values() for axis, dim in of_input.items() if axis}
    first = next(iter(firsts), None)
    is_batch = len(firsts) == 1 and first and first not in others and "batch" not in others
    renames: dict[Dim, Dim] = {first: "batch"} if is_batch else {}
    return {name: {axis: renames.get(dim, dim) for axis, dim in of_input.items()} for name, of_input in dims.items()}
