"""A name as a string literal of five languages, read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.mobile.literals import cpp_literal, js_literal, kotlin_literal, python_literal, swift_literal
from serving.texts import is_printable
from tests.bundler.mobile.literals import read_cpp, read_js, read_kotlin, read_python, read_swift

NAMES = (
    "x", "a b", 'say "x"', "it's", "größe", "名前", "😀", "e\u0301", "\u0301", "a\\", "\\n", "$HOME ${x}", "\\(x)", "%s %n",
    "??/ ??=", '"""', "'''", "*/ //", "\x1b[0m", "\u202e", "\u200b7", "\x7f1",
    "\n\r\t", "\0001", "\\u0041", "<b>&amp;", "{{7*7}}", "\u2028",
)  # fmt: skip
WRITERS = (python_literal, js_literal, kotlin_literal, swift_literal, cpp_literal)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize("name", NAMES)
def test_literal_is_one_visible_line(name: str) -> None:
    for write in WRITERS:
        assert is_printable(write(name))


@given(TEXTS)
def test_languages_other_than_cpp_read_the_name_back(name: str) -> None:
    assert read_python(python_literal(name)) == read_js(js_literal(name)) == name
    assert read_kotlin(kotlin_literal(name)) == read_swift(swift_literal(name)) == name


def test_named_examples_are_read_back() -> None:
    for name in NAMES:
        assert read_python(python_literal(name)) == read_js(js_literal(name)) == name
        assert read_kotlin(kotlin_literal(name)) == read_swift(swift_literal(name)) == name


def test_letters_stay_readable() -> None:
    assert [write("größe") for write in WRITERS] == [*['"größe"'] * 4, '"gr\\303\\266\\303\\237e"']
    assert (swift_literal("\u202e"), kotlin_literal("$\U000e0041")) == ('"\\u{202e}"', '"\\$\\udb40\\udc41"')


def test_cpp_reads_the_names_back(tmp_path: Path) -> None:
    names = [name for name in NAMES if "\0" not in name]  # a std::string made of a literal ends at a NUL
    assert read_cpp([cpp_literal(name) for name in names], tmp_path) == names
