"""Names of dynamic dims and of outputs in an exported signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bundler.errors import UsageError
from bundler.values.signature import Dim, TensorSpec

_UNNAMED = "unnamed_dim_"


def name_dims(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Give each dynamic dim without a name a unique one; `unname_dims` removes these names again."""
    count = 0
    named = []
    for spec in specs:
        dims: list[Dim] = []
        for dim in spec.dims:
            dims.append(f"{_UNNAMED}{count}" if dim is None else dim)
            count += dim is None
        named.append(replace(spec, dims=tuple(dims)))
    return tuple(named)


def unname_dims(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Remove the names that `name_dims` has given."""
    return tuple(
        replace(spec, dims=tuple(None if isinstance(d, str) and d.startswith(_UNNAMED) else d for d in spec.dims))
        for spec in specs
    )


def choose_names(model_names: Sequence[str], user_names: Sequence[str], inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the outputs: the user's (`--output`), or the model's own.

    An input and an output of an ONNX graph cannot have the same name: such an output becomes `<name>_output`.

    Args:
        model_names: the model's own names of its outputs.
        user_names: the user's names for them, in the same order; empty: none.
        inputs: the names of the inputs.

    Raises:
        UsageError: the user has given another number of names, a name twice, or the name of an input.
    """
    if not user_names:
        return tuple(f"{name}_output" if name in inputs else name for name in model_names)
    shared = [name for name in user_names if name in inputs]
    if shared:
        raise UsageError(
            f"The output name {shared[0]!r} is an input's name.", fix="give the output another name", code="TFB1202"
        )
    if len(user_names) != len(model_names):
        raise UsageError(
            f"--output gives {len(user_names)} {'name' if len(user_names) == 1 else 'names'}, but the model has "
            f"{len(model_names)} {'output' if len(model_names) == 1 else 'outputs'} ({', '.join(model_names)}).",
            fix="give --output once for each output, in this order, or not at all",
            code="TFB1202",
        )
    repeated = sorted({name for name in user_names if list(user_names).count(name) > 1})
    if repeated:
        raise UsageError(
            f"Two outputs have the name {repeated[0]!r}.", fix="give each output its own name", code="TFB1202"
        )
    return tuple(user_names)


def choose_outputs(names: Sequence[str], selected: Sequence[str], signature: str) -> tuple[str, ...]:
    """Return the names of the outputs that a signature has: the selected ones, or all.

    Raises:
        UsageError: the model does not have a selected output.
    """
    unknown = [name for name in selected if name not in names]
    if unknown:
        raise UsageError(
            f"The signature {signature!r} selects the output {unknown[0]!r}, which the model does not have.",
            fix=f"choose from its outputs: {', '.join(names)}",
            code="TFB1301",
        )
    return tuple(selected) or tuple(names)
