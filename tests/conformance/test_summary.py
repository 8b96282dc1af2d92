"""The summary at the end of a test run."""

from __future__ import annotations

from tests.conformance.summary import summary


def test_cases_are_counted_by_kind() -> None:
    names = [
        "nodes.py::test_graph[test_abs]", "nodes.py::test_graph[test_if_opt]", "nodes.py::test_graph[test_ai_onnx_ml_binarizer]",
        "models.py::test_graph[simple/test_shrink]", "nodes.py::test_saved_model[test_abs]", "nodes.py::test_goal",
    ]  # fmt: skip
    head, *reasons = summary(f"tests/conformance/test_{name}" for name in names)
    assert head == (
        "Conformance: 1 of 2 node tests of ai.onnx, 1 of 1 node tests of ai.onnx.ml, 1 of 1 models of the onnx wheel"
    )
    assert reasons == ["    1  whether an optional has an element is known only at run time"]


def test_there_is_no_summary_if_no_case_ran() -> None:
    assert summary(["tests/cli/test_help.py::test_help"]) == []
