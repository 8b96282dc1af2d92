"""Architectures in float32 convert to bfloat16, with the same signatures, and their answers stay near PyTorch's.

The weights are random, which makes rounding grow more than in a trained model: some architectures are below the gate of a build
(15 dB), which then publishes float32. The limit here tells an error of the conversion, which leaves no signal at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.converters.native import NativeConverter
from bundler.errors import ConversionError
from bundler.tflite.gate import Agreement
from bundler.validation import parity
from tests.zoo import check, table

FAST = {"dlrm"}
LEAST_DB = 5.0
REFUSED = {"while_loop"}
"""Architectures whose only products are in the body of a loop, which stays in float32."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in table.ENTRIES]
)
def test_the_products_of_an_architecture_compute_in_bfloat16(name: str, tmp_path: Path) -> None:
    entry = table.ENTRIES[name]
    converted = check.convert(entry, entry.make(), tmp_path)
    if name in REFUSED:
        with pytest.raises(ConversionError, match="no float32 operator that could compute in bfloat16"):
            NativeConverter().in_bfloat16(converted.model)
        return
    lowered = NativeConverter().in_bfloat16(converted.model)
    assert lowered.signatures == converted.model.signatures
    for reference in parity.run_references(converted.exported):
        for case in reference.cases:
            outputs = {k: v.numpy() for k, v in lowered.run(reference.exported.name, case.inputs).items()}
            for output, want in case.outputs.items():
                got = outputs[output]
                assert (got.dtype, got.shape) == (want.dtype, want.shape)
                ratio = Agreement.of(want, got).sqnr_db
                assert ratio is None or ratio > LEAST_DB, f"{reference.exported.name} {case.name} {output}: {ratio} dB"
