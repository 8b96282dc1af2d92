"""`tfbundle explain` prints the page of a code, or the list."""

from __future__ import annotations

import io
import json
import sys

import pytest

from bundler.cli.explain import _show
from serving.error_codes import pages
from tests.bundler.cli.commands import run


@pytest.mark.parametrize("code", ["TFB5101", "tfb5101", "5101"])
def test_a_code_is_explained(code: str) -> None:
    result = run("explain", code)
    assert result.stdout == pages()["TFB5101"].markdown()
    assert result.stderr == ""


def test_json_has_the_parts_of_a_page() -> None:
    page = json.loads(run("explain", "TFB5101", "--json").stdout)
    assert list(page) == ["code", "title", "area", "cause", "example", "way_out"]
    assert page["code"] == "TFB5101" and page["example"].startswith("error TFB5101: ")


def test_without_a_code_all_are_listed_by_area() -> None:
    lines = run("explain").stdout.splitlines()
    assert lines[0] == "Options, bundle.yaml and signatures"
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(pages())
    assert [page["code"] for page in json.loads(run("explain", "--json").stdout)] == list(pages())


@pytest.mark.parametrize(
    ("code", "advice"),
    [("TFB5109", " or TFB5210 or "), ("wrong", "`tfbundle explain` lists all codes")],
)
def test_unknown_code_suggests_similar_ones(code: str, advice: str) -> None:
    result = run("explain", code, code=2)
    assert result.stderr.startswith(f"error TFB1002: There is no error code {code!r}.\n  to do: ")
    assert advice in result.stderr


class Terminal(io.StringIO):
    """A text file that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_a_terminal_shows_a_formatted_page_without_links_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    _show(pages()["TFB5105"])
    shown = terminal.getvalue()
    assert "# TFB5105" not in shown and "The model does more than compute" in shown
    assert "docs/security.md" in shown and "../" not in shown
