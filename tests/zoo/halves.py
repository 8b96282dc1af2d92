"""The architectures of the zoo in half precision: weights and float inputs cast to bfloat16 or float16.

In some architectures with random weights, rounding grows so much that PyTorch's own outputs are far from its float32 outputs (by
up to 0.5 in MobileNetV4), and a build chooses no tolerance for them that would prove something. There the distances from float32
are compared, over all elements of an output: ours may be at most twice PyTorch's. An error of the conversion makes it larger:
the distance of unrelated outputs is about 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundler.validation import parity
from bundler.validation.tolerance import LIMIT, choose_tolerance
from bundler.values.comparison import differences
from bundler.values.reference import ReferenceOutputs
from tests.models import RealModel
from tests.zoo import check
from tests.zoo.entry import Entry

DTYPES = ("bfloat16", "float16")
FARTHEST = 0.5
"""PyTorch's distance from float32, as a part of the outputs, from which on nothing is proven."""


def in_half(entry: Entry, dtype: str) -> tuple[Entry, RealModel]:
    """Return the architecture and its model in half precision; its further signatures have inputs of the same dtype."""
    made, kind = entry.make(), getattr(torch, dtype)
    inputs = {name: t.to(kind) if t.is_floating_point() else t for name, t in made.inputs.items()}
    signatures = {name: _signature(options, dtype) for name, options in entry.signatures.items()}
    changed = replace(entry, signatures=signatures, saved=False, transposes=None, nhwc=False)
    return changed, RealModel(made.module.to(kind), inputs, tuple(_spec(spec, dtype) for spec in made.specs))


def _signature(options: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    return {**options, **({"inputs": tuple(_spec(s, dtype) for s in options["inputs"])} if "inputs" in options else {})}


def _spec(text: str, dtype: str) -> str:
    return text.replace("=float32[", f"={dtype}[")


def assert_agrees(entry: Entry, converted: check.Converted, work: Path) -> None:
    """Assert that the outputs are PyTorch's within the tolerance of a build, or as near to float32 as PyTorch's."""
    references = parity.run_references(converted.exported)
    chosen = choose_tolerance(None, references)
    if chosen.value < LIMIT:
        check.assert_agrees(entry, converted, work, chosen.value)
    else:
        for reference in references:
            _assert_as_near(reference, converted)


def _assert_as_near(reference: ReferenceOutputs, converted: check.Converted) -> None:
    """Compare the distances from float32, as parts of the outputs, over all cases of a signature."""
    name = reference.exported.name
    parts: dict[str, list[Any]] = {}
    for case in reference.cases:
        exact = reference.exported.reference.in_float32(case.inputs)  # type: ignore[attr-defined]
        got = {k: v.numpy() for k, v in converted.model.run(name, case.inputs).items()}
        for difference in differences(case.outputs, got):
            assert difference.problem is None, f"{name} {case.name}: {difference.explain()}"
        for output, values in exact.items():
            both = [_float64(a) - _float64(values) for a in (got[output], case.outputs[output])]
            whole = np.linalg.norm(_float64(values)) or 1.0
            parts.setdefault(output, []).append([np.linalg.norm(d) / whole for d in both])
    for output, rows in parts.items():
        ours, pytorch = np.sqrt(np.mean(np.square(rows), axis=0))
        assert pytorch < FARTHEST, f"{name} {output}: PyTorch is {pytorch:.2g} from its float32 outputs"
        assert ours <= 2 * pytorch, f"{name} {output}: {ours:.2g} from float32, PyTorch {pytorch:.2g}"


def _float64(array: Any) -> Any:
    return array.astype(np.float64)
