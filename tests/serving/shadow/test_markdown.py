"""The Markdown of a comparison."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt

from serving.shadow.markdown import to_markdown, write_markdown
from serving.shadow.report import Bounds
from tests.serving.shadow.shadowed import report


def test_report_has_verdict_tables_failures_and_worst_requests(tmp_path: Path) -> None:
    file = tmp_path / "new" / "shadow.md"
    write_markdown(report(), Bounds(0.001), file)
    text = file.read_text("utf-8")
    assert text.startswith("# m: `stable` (version 1) and `canary` (version 2)\n")
    assert "**Beyond the bounds.** The versions differ on 2 % of the requests; at most 0.1 % is allowed." in text
    assert "| ratio |  |  | 1.5 | 1.5 |" in text
    assert "## Failures\n\n- `canary` (version 2), 1 times INTERNAL, e.g. record 100" in text
    assert "## Noise" not in text


def test_names_cannot_break_a_table() -> None:
    html = MarkdownIt("commonmark").enable("table").render(to_markdown(report(), Bounds()))
    rows = [line for line in html.split("<tr>") if "y|z" in line.replace("&#124;", "|")]
    assert rows and all(row.count("<td") in (0, 7, 4) for row in rows)
    assert html.count("<table>") == 3 and "No bounds were set." in html


def test_incomplete_comparison_says_so_first() -> None:
    text = to_markdown(report(incomplete=("The server could not be reached any more.",)), Bounds(1.0))
    assert text.split("\n\n")[1] == "**Not complete.** The server could not be reached any more."
    assert "**Within the bounds.**" in to_markdown(report(), Bounds(1.0))
