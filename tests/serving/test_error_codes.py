"""Every error has a code, every code a page, and every page an error that is raised and looks like its example."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from serving import error_codes
from serving.error_codes import ErrorPage, normalized, pages
from tests.error_examples import MISTAKES
from tests.raise_sites import HOLE, RaiseSite, matches, sites

PASSED_ON = {
    "bundler/cli/boundary.py", "bundler/cli/output.py", "bundler/mlflow/stored.py", "bundler/mobile/export.py",
    "bundler/sources/onnx_file.py", "bundler/spec/bundle_spec.py",
    "bundler/tflite/exchange.py", "serving/config/text_proto.py",
}  # fmt: skip
"""Modules that make an error from another one and keep its code."""


def test_every_error_has_a_code() -> None:
    """To mend it, add `code="TFB…"` where the error is raised; serving/error_pages/ explains the codes."""
    assert len(sites()) > 400
    without = [site for site in sites() if site.code is None and not site.place.startswith("bundler/cli/boundary.py")]
    assert not without
    assert {site.place.partition(":")[0] for site in sites() if site.code == "passed on"} <= PASSED_ON


def test_every_code_has_a_page_and_every_page_is_of_a_code_in_use() -> None:
    """To mend it, write the page in serving/error_pages/, or delete the page of a code that no release had."""
    raised = {site.code for site in sites()} - {None, "passed on"}
    assert raised == set(pages())


def said(page: ErrorPage) -> tuple[str, str]:
    """Return the message and the advice of a page's example, without the indentation of further lines."""
    head, _, fix = page.example.partition("\n  to do: ")
    what = head.partition("\n  where: ")[0].removeprefix(f"error {page.code}: ")
    return tuple(re.sub(r"\n +", "\n", text) for text in (what, fix))  # type: ignore[return-value]


def could_say(site: RaiseSite, what: str, fix: str) -> bool:
    """Return whether an error of a place can have the message and the advice."""
    known = [template for template in site.what if template.strip(HOLE)]
    flat = [re.sub(r"\n +", "\n", template) for template in known]
    return any(matches(template, what) for template in flat) and (
        not fix or not site.fix or any(matches(re.sub(r"\n +", "\n", template), fix) for template in site.fix)
    )


@pytest.mark.parametrize("page", [page for page in pages().values() if page.code not in MISTAKES], ids=lambda page: page.code)
def test_example_that_no_test_prints_has_the_words_of_an_error_with_that_code(page: ErrorPage) -> None:
    assert page.example.startswith(f"error {page.code}: ")
    what, fix = said(page)
    candidates = [site for site in sites() if site.code == page.code]
    assert any(could_say(site, what, fix) for site in candidates), [(site.place, site.what, site.fix) for site in candidates]


def test_an_example_with_other_words_would_be_noticed() -> None:
    site = RaiseSite("x.py:1", "UsageError", "TFB1001", (f"The file {HOLE} is wrong.",), ("correct it",))
    assert could_say(site, "The file a is wrong.", "correct it") and could_say(site, "The file a is wrong.", "")
    assert not could_say(site, "The file a is bad.", "") and not could_say(site, "The file a is wrong.", "delete it")


@pytest.mark.parametrize("text", ["TFB1001", "tfb1001", "1001", "error TFB1001:", " TFB1001 "])
def test_a_code_is_found_as_people_write_it(text: str) -> None:
    assert normalized(text) == "TFB1001"


@pytest.mark.parametrize(
    "text",
    [
        "## TFB1001: x\n", "# TFB1: A\n\n## TFB2001: x\n\ncause\n\n```text\ne\n```\n\nout\n",
        "# TFB1: A\n\n## TFB1001: no example\n\ncause\n", "# TFB1: A\n" + "\n## TFB1001: x\n\nc\n\n```text\ne\n```\n\nw\n" * 2,
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_an_error(text: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "1.md").write_text(text)
    monkeypatch.setattr(error_codes, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"1\.md"):
        pages.__wrapped__()


def test_the_pages_need_nothing_but_python() -> None:
    code = "import sys, serving.error_codes as e; e.pages(); assert not {'numpy', 'grpc', 'rich', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
