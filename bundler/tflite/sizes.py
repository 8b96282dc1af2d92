"""The static sizes of a TFLite file: delegates want them, so every dynamic dim gets one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bundler.errors import UsageError
from bundler.values import input_draws
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.values.signature import Signature



def static_sizes(signature: Signature, examples: Mapping[str, Array], spec: TfliteSpec) -> dict[str, int]:
    """A size for each named dynamic dim: from `spec.dims`, for a batch `spec.batch`, else the example's.

    Raises:
        UsageError: `spec.dims` names a dim that the model does not have.
    """
    own = input_draws.dim_sizes(signature, examples)
    _check(spec.dims, own, "tflite.dims")
    return {
        dim: spec.dims.get(dim, spec.batch if input_draws.is_batch(dim) else size) for dim, size in own.items()
    }


def signature_sizes(signature: Signature, examples: Mapping[str, Array], spec: TfliteSpec) -> dict[str, dict[str, int]]:
    """The sizes of each signature of the files: serving_default, then those of `spec.shapes`, which change some of them.

    Raises:
        UsageError: a dim is named that the model does not have.
    """
    default = static_sizes(signature, examples, spec)
    for name, sizes in spec.shapes.items():
        _check(sizes, default, f"tflite.shapes.{name}")
    return {SERVING_DEFAULT: default, **{name: {**default, **sizes} for name, sizes in spec.shapes.items()}}


def _check(named: Mapping[str, int], own: Mapping[str, int], where: str) -> None:
    unknown = sorted(set(named) - set(own))
    if unknown:
        have = f"its dynamic dims are {', '.join(own)}" if own else "it has no dynamic dim"
        raise UsageError(f"{where} names {unknown[0]!r}, which the model does not have.", fix=have)


def static_shapes(
    signature: Signature, examples: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The shape of each input; a dynamic dim without a name is as in the example."""
    return {spec.name: input_draws.shape_of(spec, examples[spec.name], sizes) for spec in signature.inputs}
