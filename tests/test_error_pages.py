"""docs/errors/ is what `python -m docs.error_pages` writes, and what the pages say exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bundler.spec.options import build_options
from docs import error_pages
from serving.error_codes import ErrorPage, pages
from serving.server.config.usage import usage
from tests.bundler.cli.commands import run

ROOT = Path(__file__).parents[1]

OF_OTHER_PROGRAMS = {"--pids-limit", "--ulimit"}


@pytest.fixture(scope="module")
def known() -> str:
    """Return text that has every flag of tfbundle."""
    sources = (ROOT / "bundler" / "cli").glob("*.py")
    flags = " ".join(f"--{option.name} --no-{option.name}".replace("_", "-") for option in build_options())
    return " ".join((flags, usage("tfbundle"), run("serve", "--help").stdout, *(path.read_text("utf-8") for path in sources)))


def test_docs_are_up_to_date(tmp_path: Path) -> None:
    """To mend it, run `python -m docs.error_pages`."""
    written = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "errors").glob("*.md")}
    assert written == error_pages.files()


def test_pages_of_codes_that_no_longer_exist_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / error_pages.FOLDER
    folder.mkdir(parents=True)
    (folder / "TFB0000.md").touch()
    error_pages.main(tmp_path)
    assert {path.name for path in folder.iterdir()} == set(error_pages.files())


@pytest.mark.parametrize("page", pages().values(), ids=lambda page: page.code)
def test_what_a_page_recommends_exists(page: ErrorPage, known: str) -> None:
    text = f"{page.cause}\n{page.way_out}"
    for flag in set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text)) - OF_OTHER_PROGRAMS:
        assert re.search(rf"{flag}(?![\w-])", known) or f"{flag.removeprefix('--').replace('-', '_')}:" in known, flag
    for command in re.findall(r"`tfbundle ([a-z][a-z-]*)", text):
        assert (ROOT / "bundler" / "cli" / f"{command.replace('-', '_')}.py").is_file(), command
    for link in re.findall(r"\]\(\.\./(\S+?)\)", text):
        assert (ROOT / "docs" / link).is_file(), link
