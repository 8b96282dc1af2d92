"""The counts of OpInfo's cases at the end of a run."""

from __future__ import annotations

from types import SimpleNamespace

from tests.opinfo.pool import Result
from tests.opinfo.summary import PROPERTY, SECONDS, counts, lines

RESULTS = [
    Result("add float32 0 static", "right", ""),
    Result(
        "svd float32 0 static", "export", "torch cannot export Batch to ONNX, which does not support: aten._linalg_svd"
    ),
    Result("dropout float32 0 static", "refused", "Dropout is in training mode."),
    Result("add bool 0 static", "wrong", "output 'c0' differs"),
    Result("item bool 0 static", "refused", "a refusal without a reason"),
]


def test_outcomes_are_counted_by_dtype() -> None:
    report = SimpleNamespace(user_properties=[(PROPERTY, counts(RESULTS)), (SECONDS, 30), ("house", "x")])
    title, *rows, sentence, time = lines({"passed": [report], "failed": [report], "": [SimpleNamespace()]})
    assert title.split("  ")[-1].strip() == "nothing to compare"
    assert [row.split()[1:] for row in rows] == [
        ["float32", "2", "2", "0", "0", "2", "0", "0", "0"],
        ["bool", "0", "0", "0", "0", "2", "2", "0", "0"],
        ["all", "2", "2", "0", "0", "4", "2", "0", "0"],
    ]
    assert "Dropout in training mode" in sentence
    assert time == "OpInfo took 60 s of its workers' time"


def test_no_lines_without_opinfo() -> None:
    assert lines({"passed": [SimpleNamespace(user_properties=[])]}) == []
