"""The static sizes of a TFLite file: every dynamic dim gets one size, because delegates work best with static shapes."""

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
    """Return a size for each named dynamic dim: that of `spec.dims`, else `spec.batch` for a batch, else the example's.

    Raises:
        UsageError: `spec.dims` names a dim that the model does not have.
    """
    example_sizes = input_draws.dim_sizes(signature, examples)
    _check_names(spec.dims, example_sizes, "tflite.dims")
    return {
        dim: spec.dims.get(dim, spec.batch if input_draws.is_batch(dim) else size) for dim, size in example_sizes.items()
    }


def signature_sizes(signature: Signature, examples: Mapping[str, Array], spec: TfliteSpec) -> dict[str, dict[str, int]]:
    """Return the sizes of each signature of the files: serving_default, then those of `spec.shapes`, which override some sizes.

    Raises:
        UsageError: the spec names a dim that the model does not have.
    """
    default = static_sizes(signature, examples, spec)
    for name, sizes in spec.shapes.items():
        _check_names(sizes, default, f"tflite.shapes.{name}")
    return {SERVING_DEFAULT: default, **{name: {**default, **sizes} for name, sizes in spec.shapes.items()}}


def _check_names(sizes: Mapping[str, int], model_dims: Mapping[str, int], key: str) -> None:
    unknown = sorted(set(sizes) - set(model_dims))
    if unknown:
        fix = f"choose one of: {', '.join(model_dims)}" if model_dims else "omit it: the model has no dynamic dims"
        raise UsageError(
            f"{key} names {unknown[0]!r}, which is not a dynamic dim of the model.", fix=fix, code="TFB4005"
        )


def static_shapes(
    signature: Signature, examples: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input; an unnamed dynamic dim has the example's size."""
    return {spec.name: input_draws.shape_of(spec, examples[spec.name], sizes) for spec in signature.inputs}
