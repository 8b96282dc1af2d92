"""Writing rendered files: what is replaced, what is kept, and how YAML and templates are handled."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from bundler.render import files


def test_files_that_are_no_longer_rendered_are_removed_and_others_kept(tmp_path: Path) -> None:
    files.write_files(tmp_path, {"a.txt": "1\n", "sub/b.txt": "2\n"})
    (tmp_path / "notes.txt").write_text("mine")
    written = files.write_files(tmp_path, {"a.txt": "3\n"}, owned=("a.txt", "sub/b.txt"))
    assert written == [tmp_path / "a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"3\n"
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"a.txt", "notes.txt"}


def test_yaml_keeps_comments_quotes_and_order() -> None:
    text = "# first\nb: '1'\na:\n  - x # second\n"
    document = files.read_yaml(text)
    document["a"][0] = "z"
    assert files.write_yaml(document) == text.replace("x", "z")
    assert files.write_yaml(files.read_yaml(text)) == text, "the parsed document is copied"


def test_a_template_needs_all_its_values() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        files.render_template("smoke_test.py.j2", serving=None)


WORDS = ("yes", "No", "on", "off", "y", "N", "null", "~", "1e3", "0777", "1_000", "12:30:45", "0x1f", ".inf", "2020-01-01")


@pytest.mark.parametrize("text", WORDS)
def test_string_stays_a_string_for_readers_of_yaml_1_1(text: str) -> None:
    assert files.write_yaml({"a": text, "b": [text]}) == f"a: '{text}'\nb:\n  - '{text}'\n"
    assert files.write_yaml({"a": "nginx", "b": "2.19.1", "c": "10m"}) == "a: nginx\nb: 2.19.1\nc: 10m\n"
