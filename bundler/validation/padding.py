"""Can requests of different lengths share a batch?

With pad_variable_length_inputs, TensorFlow Serving pads the shorter requests of a batch: each input at its end, with the
request's own first value, masks too (tensorflow_serving/batching/batching_util.cc, AddPadding). Each request gets its rows of
the outputs as long as those of the longest. This is right only for a model that ignores such padding, which `check_padding`
finds out: a short and a long call run as one batch, and their answers, cut back, have to be PyTorch's answers to each alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.errors import ParityError
from bundler.saved_model.runner import SavedModel
from bundler.values.arrays import Array
from bundler.values.comparison import differences
from bundler.values.input_draws import is_batch
from bundler.values.reference import Case, ReferenceOutputs
from bundler.values.signature import TensorSpec


@dataclass(frozen=True)
class PaddedAnswers:
    """What padding does to the answers of a signature.

    Attributes:
        signature: its name.
        inputs: the inputs whose length varies.
        changes: what is wrong with each output that padding changes; empty if requests of different lengths can share a batch.
    """

    signature: str
    inputs: tuple[str, ...]
    changes: Mapping[str, str]

    @property
    def stays(self) -> bool:
        """Whether padding changes no answer."""
        return not self.changes

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        return {"inputs": list(self.inputs), "changes": dict(self.changes)}


def warnings(padded: Iterable[PaddedAnswers], *, is_on: bool | None) -> Iterator[str]:
    """Yield what a batching server does with requests of different lengths, for each signature whose answers padding changes.

    Args:
        padded: the signatures with inputs of varying length.
        is_on: the setting serving.pad_variable_length_inputs.
    """
    for answers in padded:
        if answers.stays:
            continue
        changes = "; ".join(f"{name}: {change}" for name, change in answers.changes.items())
        lengths = f"requests whose {' and '.join(answers.inputs)} differ in length"
        fate = f"get wrong answers if they share a batch, padded ({changes})" if is_on else "fail if they share a batch"
        why = "" if is_on else f"; padding would change the answers ({changes})"
        yield (
            f"signature {answers.signature}: {lengths} {fate}{why}. Let clients pad to a few lengths, or call a signature with "
            "`text`, or with `mask`, which makes the mask from the ids"
        )


def check_padding(
    served: SavedModel, reference: ReferenceOutputs, permutations: Mapping[str, Sequence[int]], tolerance: float
) -> PaddedAnswers | None:
    """Run a short and a long call as one padded batch, and compare with PyTorch's answers to each.

    Args:
        served: the SavedModel.
        reference: PyTorch's outputs for one of its signatures.
        permutations: `ConvertedModel.permutations`.
        tolerance: the largest relative error that passes.

    Returns:
        None if no length varies, a request has no rows to batch, or PyTorch takes no two lengths.
    """
    varying = tuple(spec.name for spec in reference.exported.signature.inputs if _length_varies(spec))
    if not varying or not all(_has_rows(spec) for spec in reference.exported.signature.inputs):
        return None
    calls = [(reference.to_served(case.inputs, permutations), case) for case in reference.cases]
    pairs = [pair for pair in itertools.permutations(calls, 2) if _is_shorter(pair[0][0], pair[1][0])]
    if not pairs:
        return None
    (short, short_case), (long, long_case) = max(pairs, key=lambda pair: _elements(pair[1][0]) - _elements(pair[0][0]))
    try:
        outputs = served(reference.exported.name, merged(short, long))
    except ParityError as exc:
        return PaddedAnswers(reference.exported.name, varying, {"all outputs": exc.what})
    rows = len(next(iter(short.values())))
    changes = _changes(long_case, outputs, slice(rows, None), tolerance)
    changes |= _changes(short_case, outputs, slice(rows), tolerance)
    return PaddedAnswers(reference.exported.name, varying, changes)


def merged(short: Mapping[str, Array], long: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of two calls as the server merges them into a batch, the shorter padded."""
    from serving.server.batching.arrays import padded

    return {name: np.concatenate([padded(array, long[name].shape), long[name]]) for name, array in short.items()}


def _changes(case: Case, outputs: Mapping[str, Array], rows: slice, tolerance: float) -> dict[str, str]:
    """Return what is wrong with the outputs of one request of the batch, cut back to the sizes that it has alone."""
    got = {}
    for name, want in case.outputs.items():
        array = outputs.get(name, np.zeros(0))[rows]
        is_cut = array.ndim == want.ndim
        got[name] = array[tuple(slice(size) for size in want.shape)] if is_cut else array
    wrong = [difference for difference in differences(case.outputs, got) if not difference.within(tolerance)]
    return {difference.output: difference.problem or f"relative error {difference.max_rel:.2g}" for difference in wrong}


def _length_varies(spec: TensorSpec) -> bool:
    return spec.dtype != "string" and any(axis > 0 for axis in spec.dynamic_axes)


def _has_rows(spec: TensorSpec) -> bool:
    return bool(spec.dims) and (spec.dims[0] is None or is_batch(spec.dims[0]))


def _is_shorter(short: Mapping[str, Array], long: Mapping[str, Array]) -> bool:
    """Whether no input of the first call is longer along an axis, and some input is shorter."""
    pairs = ((array.shape[1:], long[name].shape[1:]) for name, array in short.items())
    sizes = [both for shapes in pairs for both in zip(*shapes, strict=True)]
    return all(a <= b for a, b in sizes) and any(a < b for a, b in sizes)


def _elements(call: Mapping[str, Array]) -> int:
    return sum(int(np.prod(array.shape[1:])) for array in call.values())
