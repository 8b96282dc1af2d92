"""Finds out why dims of a model's inputs are fixed, and which of them the model would take in another size.

A module is run with other sizes of its fixed dims: one more, or twice as many. Dims that have one size on the same axis of
several inputs change together; dims of one size that cannot change alone are tried together, too (a square matrix). A copy of
the module is run, because some modules remember the sizes that they have seen; it shares the weights.

A `.onnx` or `.pt2` file fixes its dims itself, and only another export can free them. A `.onnx` file is built without torch, so
only the runs of a module import it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from bundler.process.logs import silence
from bundler.values.fixed_dims import GIVEN, NEEDED, FixedDim, FixedDims
from bundler.values.reference import REFUSALS
from bundler.values.signature import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bundler.sources.binding import Binding

Places: TypeAlias = "tuple[tuple[str, int], ...]"
"""Dims that change together, as (input, axis)."""

_NAMES: Mapping[tuple[int, int], str] = {
    (2, 1): "seq", (3, 1): "seq", (4, 2): "height", (4, 3): "width",
    (5, 2): "depth", (5, 3): "height", (5, 4): "width",
}  # fmt: skip
"""Usual names of dims by rank and axis; axis 0 is the batch."""


def of_module(
    module: nn.Module,
    binding: Binding,
    tensors: Mapping[str, Tensor],
    specs: Sequence[TensorSpec],
    *,
    why: str,
    first_axis: str = "",
) -> FixedDims:
    """Return the fixed dims of a module's inputs.

    Args:
        module: the module, in eval mode.
        binding: how the inputs are passed to `forward`.
        tensors: the example inputs by name.
        specs: the inputs with their dims.
        why: where the sizes come from.
        first_axis: why the first axis is not a batch, if that is known.
    """
    fixed = [(spec.name, axis) for spec in specs for axis, dim in enumerate(spec.dims) if isinstance(dim, int)]
    if not fixed:
        return FixedDims()
    trials = _Trials(module, binding, tensors, batched=any(spec.dims[:1] == ("batch",) for spec in specs))
    groups = _groups(specs)
    free = trials.free_groups(groups) if trials.can_run else [group for group in groups if _is_usual(specs, group)]
    named = _named(specs, free, first="rows" if first_axis else "batch")
    changeable = {place for group in free for place in group}
    dims = []
    for spec in specs:
        for axis, size in enumerate(spec.dims):
            if isinstance(size, int):
                reason = first_axis if first_axis and axis == 0 else why if (spec.name, axis) in changeable else NEEDED
                dims.append(FixedDim(spec.name, axis, size, reason))
    return FixedDims(tuple(dims), tuple(map(str, named)) if free else ())


def of_file(specs: Sequence[TensorSpec], declared: Sequence[TensorSpec], *, why: str, dim: str = "") -> FixedDims:
    """Return the fixed dims of an exported file.

    Args:
        specs: the inputs with the dims that they get.
        declared: the same inputs, with the dims that the file has.
        why: the reason for a dim that is fixed in the file.
        dim: what the exporter takes for a dynamic dim; default: a name in quotes.
    """
    own = {spec.name: spec.dims for spec in declared}
    dims, given, exported = [], [], []
    for spec in specs:
        for axis, size in enumerate(spec.dims):
            if isinstance(size, int):
                is_given = len(own[spec.name]) == len(spec.dims) and not isinstance(own[spec.name][axis], int)
                dims.append(FixedDim(spec.name, axis, size, GIVEN if is_given else why))
                if is_given:
                    given.append(((spec.name, axis),))
                elif _is_usual(specs, ((spec.name, axis),)):
                    exported.append(((spec.name, axis),))
    names = {spec.name: spec.dims for spec in _named(specs, exported)}
    shapes: dict[str, list[str]] = {}
    for ((name, axis),) in exported:
        shapes.setdefault(name, []).append(f"{axis}: {dim or repr(names[name][axis])}")
    texts = [f"{name!r}: {{{', '.join(axes)}}}" for name, axes in shapes.items()]
    export = f"export the file again with dynamic_shapes={{{', '.join(texts)}}}"
    return FixedDims(tuple(dims), tuple(map(str, _named(specs, given))) if given else (), export if exported else "")


def _groups(specs: Sequence[TensorSpec]) -> list[Places]:
    """Return the fixed dims, those of one size on one axis together."""
    groups: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for spec in specs:
        for axis, size in enumerate(spec.dims):
            if isinstance(size, int):
                groups.setdefault((axis, size), []).append((spec.name, axis))
    return [tuple(places) for places in groups.values()]


def _is_usual(specs: Sequence[TensorSpec], group: Places) -> bool:
    """Return whether dims at these places can change in most models; channels and features cannot."""
    inputs = {spec.name: spec for spec in specs}
    return all(
        axis == 0 or ((rank := len(inputs[name].dims), axis) in _NAMES and (rank > 2 or "int" in inputs[name].dtype))
        for name, axis in group
    )


def _named(specs: Sequence[TensorSpec], free: Sequence[Places], first: str = "batch") -> list[TensorSpec]:
    """Return the specs with a name for each group of dims; `first` is that of an axis 0."""
    taken = {dim for spec in specs for dim in spec.dims if isinstance(dim, str)}
    ranks = {spec.name: len(spec.dims) for spec in specs}
    names: dict[tuple[str, int], str] = {}
    for group in free:
        name, axis = group[0]
        base = first if axis == 0 else _NAMES.get((ranks[name], axis), f"dim_{axis}")
        unique, count = base, 1
        while unique in taken:
            count, unique = count + 1, f"{base}_{count + 1}"
        taken.add(unique)
        names.update(dict.fromkeys(group, unique))
    return [replace(s, dims=tuple(names.get((s.name, axis), dim) for axis, dim in enumerate(s.dims))) for s in specs]


class _Trials:
    """Runs of a module with other sizes of its inputs.

    Args:
        module: the module.
        binding: how the inputs are passed to `forward`.
        tensors: the example inputs by name.
        batched: whether the first axis of the inputs is the batch.
    """

    def __init__(self, module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor], *, batched: bool) -> None:
        self._module = module
        self._binding = binding
        self._inputs = dict(tensors)
        self._rows = self._run(tensors)
        self._batch = next((int(t.shape[0]) for t in tensors.values() if t.dim()), None) if batched else None

    @property
    def can_run(self) -> bool:
        """Whether a copy of the module answers the example inputs."""
        return self._rows is not None

    def free_groups(self, groups: Sequence[Places]) -> list[Places]:
        """Return the groups of dims that can change. Each is tried together with those before it."""
        first = [group for group in groups if self._changes(group)]
        left = [group for group in groups if group not in first]
        return [*first, *(group for group in self._of_one_size(left) if self._changes(group))]

    def _of_one_size(self, groups: Sequence[Places]) -> list[Places]:
        """Join groups of the same size."""
        sizes: dict[int, list[Places]] = {}
        for group in groups:
            name, axis = group[0]
            sizes.setdefault(int(self._inputs[name].shape[axis]), []).append(group)
        return [tuple(place for group in joined for place in group) for joined in sizes.values() if len(joined) > 1]

    def _changes(self, group: Places) -> bool:
        """Return whether the module accepts another size of these dims, and keep that size for the trials to come."""
        import torch

        name, axis = group[0]
        size = int(self._inputs[name].shape[axis])
        for other in (size + 1, 2 * size) if size else ():
            inputs = dict(self._inputs)
            for at, along in group:
                inputs[at] = inputs[at].index_select(along, torch.arange(other) % size)
            rows = self._run(inputs)
            if rows is not None and not self._regroups(rows):
                self._inputs = inputs
                return True
        return False

    def _regroups(self, rows: Sequence[int]) -> bool:
        """Return whether an output that had a row for each row of the batch has another number of rows, as after view(-1, 64)."""
        return any(before == self._batch != after for before, after in zip(self._rows or (), rows, strict=False))

    def _run(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...] | None:
        """Return the size of the first axis of each output, or None if the module fails."""
        import torch

        from bundler.sources.outputs import name_outputs

        args, kwargs = self._binding.call([inputs[name] for name in self._binding.names])
        try:
            with silence(), torch.no_grad(), torch.random.fork_rng(devices=[]):
                module = copy.deepcopy(self._module, {id(p): p for p in self._module.parameters()})
                outputs = name_outputs(module(*args, **kwargs)).values()
        except (*REFUSALS, AttributeError):
            return None
        return tuple(int(output.shape[0]) if output.dim() else 0 for output in outputs)
