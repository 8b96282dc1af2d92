"""The table of operators: its content, and that docs/operators.md is up to date."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bundler.errors import UsageError
from bundler.operations.op_coverage import Coverage, coverage, markdown, matching, summary

DOCS = Path(__file__).parents[3] / "docs" / "operators.md"


@pytest.fixture(scope="module")
def rows() -> tuple[Coverage, ...]:
    return coverage(packages=False)


def test_the_docs_are_up_to_date(rows: tuple[Coverage, ...]) -> None:
    text = DOCS.read_text("utf-8")
    if f"onnx {onnx.__version__}." not in text:
        pytest.skip(f"docs/operators.md was written for another version of onnx than {onnx.__version__}, with other operators")
    assert text == markdown(rows), "update it: tfbundle ops --markdown > docs/operators.md"


def test_every_current_operator_of_onnx_has_a_row(rows: tuple[Coverage, ...]) -> None:
    listed = {(row.domain, row.name) for row in rows}
    known = {(s.domain or "ai.onnx", s.name) for s in onnx.defs.get_all_schemas() if not s.deprecated}
    assert known <= listed
    assert ("ai.onnx", "Upsample") not in listed, "deprecated"
    assert not [row for row in rows if row.domain == "tfbundle"], "these exist only in the normal form"


def test_a_row_names_the_handler_of_the_operator(rows: tuple[Coverage, ...]) -> None:
    by_name = {(row.domain, row.name): row for row in rows}
    relu = by_name["ai.onnx", "LeakyRelu"]
    assert relu == Coverage(
        "ai.onnx", "LeakyRelu", 16, "handler", "bundler.converters.native.ops.elementwise:leaky_relu", 1, "ELEMENTWISE"
    )
    assert by_name["ai.onnx", "CenterCropPad"].status == "expanded"
    assert by_name["ai.onnx.preview.training", "Gradient"].status == "missing"
    assert "<locals>" not in str(by_name["ai.onnx", "Add"].handler)


def test_the_summary_counts_operators_not_handlers(rows: tuple[Coverage, ...]) -> None:
    for domain, (converted, total) in summary(rows).items():
        names = {row.name for row in rows if row.domain == domain}
        missing = {row.name for row in rows if row.domain == domain and row.status == "missing"}
        assert converted == len(names) - len(missing)
        assert total == (None if domain == "com.microsoft" else len(names))


def test_the_users_handlers_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from bundler.ops import op\n@op('Odd', domain='mylib')\ndef odd(x): return x\n")
    path.write_text(path.read_text() + "@op('Relu', override=True, since=13)\ndef relu(x): return x\n")
    rows = coverage(["mine.py"], base=tmp_path)
    assert Coverage("mylib", "Odd", None, "handler", "mine.py:odd", 1, "LOGICAL") in rows
    relus = [(row.handler, row.since) for row in rows if row.name == "Relu"]
    assert relus == [("mine.py:relu", 13), ("bundler.converters.native.ops.elementwise:relu", 1)]


def test_patterns_select_rows_and_suggest_similar_names(rows: tuple[Coverage, ...]) -> None:
    assert {"MaxPool", "AveragePool"} <= {row.name for row in matching(rows, "pool")}
    assert {row.name for row in matching(rows, "ai.onnx::Max*")} >= {"Max", "MaxPool"}
    assert {row.name for row in matching(rows, "*Unpool")} == {"MaxUnpool"}
    with pytest.raises(UsageError) as caught:
        matching(rows, "LeekyRelu")
    assert "did you mean LeakyRelu" in str(caught.value.fix)
