"""Every block of the README and of docs/ works as it stands; tests/documents.py says how blocks are run and marked."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundler
from tests.documents import REASONS, Block, Page, blocks, blocks_of, check, missing_lines, pages, unknown_flags
from tests.requirements import bash

PAGES = pages()


def has_programs(page: str) -> bool:
    """Return whether a page has a block to run; a page that cannot be read fails in its own test."""
    try:
        return any(block.runs for block in blocks_of(page))
    except AssertionError:
        return True


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_well_formed_and_their_flags_exist(page: str) -> None:
    bash()
    for block in blocks_of(page):
        check(block)


def test_blocks_that_are_not_run_have_one_of_the_reasons(record_property: pytest.RecordProperty) -> None:
    reasons: dict[str, list[str]] = {}
    for block in (block for page in PAGES for block in blocks_of(page) if block.reason):
        reasons.setdefault(block.reason, []).append(str(block))
    run = sum(block.runs for page in PAGES for block in blocks_of(page))
    not_run = "; ".join(f"{reason}: {', '.join(where)}" for reason, where in sorted(reasons.items()))
    record_property("documents", f"Documents: {run} blocks are run; not run, {not_run}")
    assert set(reasons) == set(REASONS)


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("page", list(filter(has_programs, PAGES)))
def test_blocks_do_what_the_page_says(page: str, tmp_path: Path) -> None:
    bash()
    Page(tmp_path).run(blocks_of(page))


def test_the_first_build_of_the_readme_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build in this process; the slow test runs all of the page."""
    monkeypatch.chdir(tmp_path)
    (model,) = (block for block in blocks_of("README.md") if block.file)
    (tmp_path / model.file).write_text(model.text)
    bundle = bundler.build("model.py:make", out="dist/digits", name="digits")
    assert bundle.versions("digits") == [1]


def run(text: str, folder: Path) -> None:
    bash()
    Page(folder).run(blocks("page.md", text))


def test_files_scripts_and_background_commands_share_a_folder(tmp_path: Path) -> None:
    run(
        "```python\n# part.py\nNAME = 'one'\n```\n\n"
        "```console\n$ (sleep 0.2; echo ready 7; sleep 60) &\nready 5\n"
        "$ python -c 'import part; print(part.NAME, 1.5e-7)'\none 2.0\n```\n\n"
        "```sh\nx=3\n```\n\n```sh\necho $x > x.txt\n```\n",
        tmp_path,
    )  # fmt: skip
    assert (tmp_path / "x.txt").read_text() == "3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nfalse\n```\n", "exit code 1"),
        ("```console\n$ echo two\none\n```\n", "does not print\n  one"),
        ("```python\nraise SystemExit(4)\n```\n", "exit code 4"),
        ("```\nx\n```\n", "language is ''"),
        ("    x\n", "instead of an indented one"),
        ("<!-- not run: too lazy -->\n```sh\nfalse\n```\n", "unknown reason 'too lazy'"),
    ],
)
def test_wrong_pages_fail(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        run(text, tmp_path)


def test_marked_blocks_are_not_run_and_hidden_commands_are(tmp_path: Path) -> None:
    first = "<!-- run first:\ntouch here\n-->\n\n"
    run(f"{first}<!-- not run: takes minutes -->\n```sh\nfalse\n```\n\n```sh\ntest -f here\n```\n", tmp_path)


def test_wrong_data_and_flags_are_found() -> None:
    for language, text in [("python", "x ="), ("json", "{"), ("toml", "x"), ("sh", "if"), ("yaml", "models: [{nome: x}]\n")]:
        with pytest.raises((SyntaxError, ValueError, AssertionError)):
            check(Block("page.md", 1, language, text))
    assert unknown_flags("tfbundle build x.py:make --tflight float16 | cat --nothing") == ["unknown flag --tflight"]
    assert unknown_flags("cd x && tfbundle bild x") == ["tfbundle has no command 'bild'"]


def test_printed_lines_may_differ_in_numbers_alone() -> None:
    assert missing_lines(["size  5 kB", "… done in 1.5 s"], "size 12.5  kB\nother\nx: done in 3e-07 s\n") == []
    assert missing_lines(["b", "a"], "a\nb\n") == ["a"]
    assert missing_lines(["passed"], "not passed\n") == ["passed"]
