"""Whether clients of one version of a model can send the same requests to another one.

1. Each signature of the old version exists in the new one.
2. Each of its inputs exists with the same dtype, and takes every size that the old one takes; there is no further input.
3. Each of its outputs exists with the same dtype and number of dims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bundler.values.signature import Signature, TensorSpec


def incompatibilities(before: Mapping[str, Signature], after: Mapping[str, Signature]) -> Iterator[str]:
    """Yield what would fail for clients of the old version, one sentence each.

    Args:
        before: the signatures of the old version.
        after: those of the new version.
    """
    for name, old in before.items():
        if name not in after:
            yield f"the signature {name!r} is gone"
            continue
        new = after[name]
        yield from _inputs(name, old, new)
        yield from _outputs(name, old, new)


def _inputs(name: str, old: Signature, new: Signature) -> Iterator[str]:
    inputs = {spec.name: spec for spec in new.inputs}
    for spec in old.inputs:
        other = inputs.pop(spec.name, None)
        if other is None:
            yield f"{name} has no input {spec.name!r} any more"
        elif other.dtype != spec.dtype or not _takes_all(other, spec):
            yield f"the input {spec} of {name} is {other} now"
    for spec in inputs.values():
        yield f"{name} has the further input {spec}"


def _outputs(name: str, old: Signature, new: Signature) -> Iterator[str]:
    outputs = {spec.name: spec for spec in new.outputs}
    for spec in old.outputs:
        other = outputs.get(spec.name)
        if other is None:
            yield f"{name} has no output {spec.name!r} any more"
        elif other.dtype != spec.dtype or len(other.dims) != len(spec.dims):
            yield f"the output {spec} of {name} is {other} now"


def _takes_all(new: TensorSpec, old: TensorSpec) -> bool:
    """Return whether an input takes every shape that the old one takes."""
    if len(new.dims) != len(old.dims):
        return False
    return all(not isinstance(to, int) or to == size for to, size in zip(new.dims, old.dims, strict=True))
