"""Words for people, and text of strangers made safe for a terminal, a log and a shell."""

from __future__ import annotations

import json
import os
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from serving.texts import is_printable, json_text, markdown, markdown_code, plural, printable, shell_command
from tests.requirements import bash

UNSAFE = "\x1b\r\n\t\x00\x7f\x9b\u202e\u2066\u200b\u2028\ufeff\U000e0041"
SAFE = "plain größe 名前 😀 👩\u200d🔬 e\u0301 \u00a0 [red] \\x1b"


def test_numbers_agree_with_their_nouns() -> None:
    assert [plural(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert plural(3, "kind of operator", "kinds of operator") == "3 kinds of operator"


def test_characters_that_act_on_a_terminal_become_escapes() -> None:
    assert printable("a\x1b[31mb\r\nc") == r"a\x1b[31mb\r\nc"
    assert printable("\u202e\udcff\U000e0041") == r"\u202e\udcff\U000e0041"
    assert printable("one\ntwo\r", lines=True) == "one\ntwo\\r"
    assert printable(SAFE) == SAFE
    assert is_printable(SAFE) and not any(is_printable(character) for character in UNSAFE)
    assert is_printable(printable(UNSAFE))


def test_json_is_the_same_data_without_unsafe_characters() -> None:
    data = {"name": UNSAFE + SAFE, "rows": [1, "\udcff"]}
    for indent in (None, 2):
        text = json_text(data, indent=indent)
        assert json.loads(text) == data
        assert all(is_printable(line) for line in text.split("\n"))
    assert json_text("größe") == '"größe"'


WORDS = ("plain", "a b", "it's", "$HOME `id` \\", "a\nb\x1b'c\\", "größe", "", "-x;rm", os.fsdecode(b"\xff\n"))


@pytest.mark.parametrize("word", WORDS)
def test_shell_reads_the_words_of_a_command_back(word: str) -> None:
    command = shell_command("printf", "%s\\0", word, "end")
    assert all(is_printable(line) for line in command.split("\n"))
    done = subprocess.run([bash(), "-c", command], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word) + b"\0end\0"


class _Cells(HTMLParser):
    """The texts of the cells, and the tags, of a table that Markdown was turned into."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(MarkdownIt("commonmark").enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and data != "\n":
            self.cells[-1] += data


@given(st.text(st.characters(codec="utf-8"), max_size=40))
@example("a | b")
@example("a\\|b")
@example("`|`")
@example("<img src=x onerror=alert(1)>")
@example("[x](javascript:alert(1)) ![y](z)")
@example("*a* _b_ __c__ ~~d~~ &amp; &#65; <!-- -->")
@example("a\nb | c\r\n# d")
@example("  two  blanks ")
@example("\xa0")
@example("\u2003wide\u3000")
def test_markdown_cell_holds_the_text_and_nothing_else(text: str) -> None:
    want = " ".join(printable(text).split(" "))
    for write in (markdown, markdown_code):
        table = _Cells(f"| {write(text)} | end |\n|---|---|\n| {write(text)} | end |\n")
        assert table.tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
        assert [cell.strip(" ") for cell in table.cells] == [want.strip(" "), "end"] * 2


def test_usual_names_stay_readable_in_markdown() -> None:
    assert markdown("nets/my_net.py:make, 3 - 4 (100%)") == "nets/my_net.py:make, 3 - 4 (100%)"
    assert (markdown_code("input_ids"), markdown_code("a|b"), markdown_code("")) == ("`input_ids`", "<code>a&#124;b</code>", "")
