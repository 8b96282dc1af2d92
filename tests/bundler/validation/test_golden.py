"""Golden data: which cases are selected, and how they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bundler.validation import parity
from bundler.validation.golden import make_golden
from bundler.values.reference import Case, ReferenceOutputs
from serving.golden.data import Golden
from tests.bundler.hand_written import exported

TOLERANCE = 1e-4


def test_golden_data_stays_within_the_limit(tmp_path: Path) -> None:
    references = parity.run_references([exported(tmp_path / "m.onnx")])
    sizes = {c.name: sum(a.nbytes for a in (*c.inputs.values(), *c.outputs.values())) for c in references[0].cases}
    room = sizes["batch-1"] + sizes["example"]
    selected = {limit: make_golden("m", references, tolerance=1e-4, limit=limit).cases for limit in (room, 0)}
    assert [case.name for case in selected[room]] == ["example", "batch-1"]
    assert [case.name for case in selected[0]] == ["batch-1"]


def test_no_case_exceeds_the_rows_of_a_batch(tmp_path: Path) -> None:
    references = parity.run_references([exported(tmp_path / "m.onnx")])
    golden = make_golden("m", references, tolerance=1e-4, max_rows=2)
    assert [case.name for case in golden.cases] == ["example", "random", "batch-1", "seq-5"]
    assert golden.largest_batch == 2
    assert make_golden("m", references, tolerance=1e-4).largest_batch == 5


def test_bfloat16_is_stored_as_bits(tmp_path: Path) -> None:
    import ml_dtypes

    values = np.array([[1.5, -2.25]], ml_dtypes.bfloat16)
    case = Case("example", {"x": values}, {"y": values})
    reference = ReferenceOutputs(exported(tmp_path / "m.onnx"), (case,))
    golden = make_golden("m", [reference], tolerance=1e-2)
    golden.save(tmp_path / "g.npz")
    loaded = Golden.load(tmp_path / "g.npz")
    assert set(loaded.bfloat16) == {"serving_default/example/in/x", "serving_default/example/out/y"}
    np.testing.assert_array_equal(loaded.cases[0].inputs["x"].view(ml_dtypes.bfloat16), values)
