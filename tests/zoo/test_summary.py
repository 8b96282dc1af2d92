"""The line at the end of a run counts the architectures that agree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.zoo.summary import fast_path_line, half_lines, line


def report(name: str, file: str = "tests/zoo/test_zoo.py::test_architecture") -> Any:
    return SimpleNamespace(nodeid=f"{file}[{name}]")


def test_only_architectures_are_counted() -> None:
    stats = {"passed": [report("bert"), report("gpt2"), report("x", "tests/test_other.py::test_it")]}
    assert line(stats) == "zoo: 2/2 architectures agree with PyTorch"


def test_failures_of_all_kinds_are_counted() -> None:
    stats = {
        "passed": [report("bert")], "failed": [report("gpt2")], "error": [report("t5")], "xfailed": [report("opt")],
        "skipped": [report("phi")], "": [SimpleNamespace(when="setup")],
    }  # fmt: skip
    assert line(stats) == "zoo: 1/4 architectures agree with PyTorch"


def test_the_fast_path_is_counted_apart() -> None:
    stats = {"passed": [report("bert"), report("bert", "tests/zoo/test_fast_path.py::test_fast_path")]}
    assert fast_path_line(stats) == "zoo: 1/1 architectures have a fast path that agrees with PyTorch"
    assert fast_path_line({"passed": [report("bert")]}) is None


def test_no_line_without_the_zoo() -> None:
    assert line({"passed": [report("x", "tests/test_other.py::test_it")]}) is None


def test_half_precision_is_counted_by_dtype_and_by_whose_limit_it_is() -> None:
    half = "tests/zoo/test_halves.py::test_half"
    torch, refused = report("gcn-bfloat16", half), report("gat-bfloat16", half)
    torch.wasxfail, refused.wasxfail = "PyTorch: cannot", "refused: cannot"
    stats = {
        "passed": [report("bert-bfloat16", half), report("bert-float16", half), report("bert")],
        "xfailed": [torch, refused], "failed": [report("opt-float16", half)],
    }  # fmt: skip
    assert half_lines(stats) == [
        "zoo in bfloat16: 1 right, 1 that PyTorch cannot run or export, 0 with equal scores in another order, 1 refused, 0 wrong",
        "zoo in float16: 1 right, 0 that PyTorch cannot run or export, 0 with equal scores in another order, 0 refused, 1 wrong",
    ]
    assert half_lines({"passed": [report("bert")]}) == []
