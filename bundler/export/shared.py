"""What the three ways to a signature share: names for dims and outputs, and examples of the right size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bundler.errors import UsageError
from bundler.values.arrays import Array
from bundler.values.input_draws import dim_sizes, fit
from bundler.values.signature import Dim, Signature, TensorSpec

_UNNAMED = "unnamed_dim_"


def name_dims(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Give each dynamic dim without a name one of its own; `unname` takes it off again."""
    count = 0
    named = []
    for spec in specs:
        dims: list[Dim] = []
        for dim in spec.dims:
            dims.append(f"{_UNNAMED}{count}" if dim is None else dim)
            count += dim is None
        named.append(replace(spec, dims=tuple(dims)))
    return tuple(named)


def unname(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The specs without the names that `name_dims` gave."""
    return tuple(
        replace(spec, dims=tuple(None if isinstance(d, str) and d.startswith(_UNNAMED) else d for d in spec.dims))
        for spec in specs
    )


def widen(specs: Sequence[TensorSpec], examples: Mapping[str, Array]) -> dict[str, Array]:
    """The examples with 2 rows where a dynamic dim has 1.

    Raises:
        UsageError: the examples do not fit the specs.
    """
    signature = Signature(tuple(specs), ())
    return fit(signature, examples, {dim: max(size, 2) for dim, size in dim_sizes(signature, examples).items()})


def choose_names(own: Sequence[str], given: Sequence[str], inputs: Sequence[str]) -> tuple[str, ...]:
    """The names given with `--output`, or the model's own.

    An ONNX graph cannot have an input and an output of one name: such an output becomes `<name>_output`.

    Raises:
        UsageError: there are not as many as the model has outputs, one comes twice, or one is an input's.
    """
    if not given:
        return tuple(f"{name}_output" if name in inputs else name for name in own)
    both = [name for name in given if name in inputs]
    if both:
        raise UsageError(f"The output name {both[0]!r} is an input's name.", fix="give the output another name")
    if len(given) != len(own):
        raise UsageError(
            f"{len(given)} names are given for the model's {len(own)} outputs ({', '.join(own)}).",
            fix="give --output once for each, in this order, or not at all",
        )
    twice = sorted({name for name in given if list(given).count(name) > 1})
    if twice:
        raise UsageError(f"Two outputs are given the name {twice[0]!r}.", fix="give each output its own name")
    return tuple(given)


def choose_outputs(names: Sequence[str], kept: Sequence[str], signature: str) -> tuple[str, ...]:
    """The outputs a further signature keeps.

    Raises:
        UsageError: one of them is not there.
    """
    unknown = [name for name in kept if name not in names]
    if unknown:
        raise UsageError(
            f"The signature {signature!r} keeps the output {unknown[0]!r}, which the model does not have.",
            fix=f"its outputs: {', '.join(names)}",
        )
    return tuple(kept) or tuple(names)
