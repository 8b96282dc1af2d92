"""docs/kernel_limits.md says what the kernels do here; a sample of it is measured again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import kernel_limits
from docs.kernel_probes import DTYPES, probes

PAGE = (Path(__file__).parents[1] / "docs" / "kernel_limits.md").read_text("utf-8")

SAMPLE = ("Softmax", "AddV2", "StridedSlice", "GatherNd", "Tile")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the cells of the table below a heading by kernel."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in lines[1:]}


def test_page_has_every_kernel_twice() -> None:
    assert list(rows("Axes")) == list(rows("Dtypes")) == list(probes())


def test_page_shows_no_wrong_answer_and_no_crash_below_a_limit() -> None:
    """A kernel that is wrong without an error would need a test of its own."""
    assert not re.search(r"\(\d: (wrong|crash)\)", PAGE)


@pytest.mark.parametrize("runtime", [pytest.param("TensorFlow", marks=pytest.mark.slow), "oneDNN"])
def test_sample_of_limits_is_as_the_page_says(runtime: str) -> None:
    table = {name: probe for name, probe in probes().items() if name in SAMPLE}
    answers = kernel_limits.measure(runtime, kernel_limits.calls(table, with_dtypes=True))
    column = list(kernel_limits.RUNTIMES).index(runtime)
    for name, probe in table.items():
        assert kernel_limits.axes(answers, name, sorted(probe.ranks)) == rows("Axes")[name][column], name
        refused = ", ".join(d for d in DTYPES if answers[name, probe.rank, d] != "right") or "none"
        cells = rows("Dtypes")[name]
        assert refused == (cells[0] if runtime == "TensorFlow" or cells[1] == "the same" else cells[1]), name


@pytest.mark.slow
def test_a_worker_that_dies_is_a_crash_and_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = kernel_limits._Worker("TensorFlow")
    try:
        assert worker.answer(("Relu", 2, "float32")) == "right"
        assert worker._process is not None
        worker._process.kill()
        assert worker.answer(("Relu", 2, "float32")) == "crash"
        assert worker.answer(("Relu", 2, "float32")) == "right"
    finally:
        worker.stop()
