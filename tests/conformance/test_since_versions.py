"""Every operator of ai.onnx at every version of its schema, from opset 1 on."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from tests.conformance.since_versions import MOST_PER_VERSION, OLDER, WITHOUT_CASE, cases, versions, written_cases

VERSIONS = versions()
ORT_OLDEST = 7
"""ONNX Runtime guarantees no older opset (docs/Versioning.md)."""


@pytest.mark.sample(3)
@pytest.mark.parametrize("most", [1, pytest.param(MOST_PER_VERSION, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("op_type", "version"), VERSIONS, ids=[f"{op_type}-{version}" for op_type, version in VERSIONS])
def test_operator_keeps_its_meaning(op_type: str, version: int, most: int) -> None:
    from tests.conformance.runner import assert_passes

    found = cases(op_type, version, most)
    assert bool(found) != (op_type in WITHOUT_CASE), "an operator has a case or a row in WITHOUT_CASE, not both"
    for case in found:
        assert_passes(case)


@pytest.mark.parametrize("op_type", sorted(OLDER))
def test_onnx_runtime_agrees_with_older_meanings(op_type: str) -> None:
    """Where ONNX Runtime has a kernel of that version."""
    from tests.conformance.runner import assert_equal

    for version in (v for name, v in VERSIONS if name == op_type and v >= ORT_OLDEST):
        for case in written_cases(op_type, version):
            session = session_of(case.model)
            if session is None:
                continue
            (inputs, outputs), names = case.data_sets[0], [value.name for value in case.model.graph.input]
            for actual, expected in zip(session.run(None, dict(zip(names, inputs, strict=True))), outputs, strict=True):
                assert_equal(actual, expected, rtol=1e-3, atol=1e-5)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession | None:
    """Return a session; None if ONNX Runtime has no kernel or refuses the operator as deprecated."""
    try:
        return onnxruntime.InferenceSession(model.SerializeToString())
    except errors.NotImplemented:
        return None
    except errors.InvalidGraph as exc:
        if "deprecated" not in str(exc):
            raise
        return None


def test_every_operator_of_onnx_is_in_the_table() -> None:
    assert len(VERSIONS) > 500
    assert {op_type for op_type, _ in VERSIONS} >= {"Add", "Upsample", "Scatter", *WITHOUT_CASE}
