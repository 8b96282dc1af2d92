"""The static sizes of a TFLite file: delegates want them, so every dynamic dim gets one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bundler import inputs
from bundler.errors import UsageError

if TYPE_CHECKING:
    from bundler.signature import Signature
    from bundler.spec import TfliteSpec

Array = npt.NDArray[Any]


def static_sizes(signature: Signature, examples: Mapping[str, Array], spec: TfliteSpec) -> dict[str, int]:
    """A size for each named dynamic dim: from `spec.dims`, for a batch `spec.batch`, else the example's.

    Raises:
        UsageError: `spec.dims` names a dim that the model does not have.
    """
    own = inputs.dim_sizes(signature, examples)
    unknown = sorted(set(spec.dims) - set(own))
    if unknown:
        have = f"its dynamic dims are {', '.join(own)}" if own else "it has no dynamic dim"
        raise UsageError(f"tflite.dims names {unknown[0]!r}, which the model does not have.", fix=have)
    return {
        dim: spec.dims.get(dim, spec.batch if inputs.is_batch(dim) else size) for dim, size in own.items()
    }


def static_shapes(
    signature: Signature, examples: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The shape of each input; a dynamic dim without a name is as in the example."""
    return {spec.name: inputs.shape_of(spec, examples[spec.name], sizes) for spec in signature.inputs}
