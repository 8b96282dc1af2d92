"""A bundle.yaml of anybody: what is wrong is refused at once, with its line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bundler.errors import SpecError
from bundler.spec.yaml_file import DEEPEST, LARGEST_COUNT, LARGEST_FILE, read_yaml_file

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "alias bomb": (BOMB, 5, "more than 25,000 values"),
    "bomb of merge keys": (
        "a: &a {k0: v, k1: v}\n" + "".join(f"b{i}: &b{i} {{<<: [{', '.join([f'*{p}'] * 9)}]}}\n" for i, p in
                                          enumerate(("a", "b0", "b1", "b2", "b3", "b4", "b5"))), 5, "more than 25,000 values"),
    "alias within its anchor": ("models: []\nx: &a [*a]\n", 2, r"the alias \*a repeats the value that it is in"),
    "unknown alias": ("x: *a\n", 1, "undefined alias"),
    "deep nesting": ("x:\n  " + "[" * 100_000, 2, f"nested more than {DEEPEST} deep"),
    "deep blocks": ("- " * 5000 + "x", 1, f"nested more than {DEEPEST} deep"),
    "duplicate key": ("models: []\nmodels: []\n", 2, "duplicate key"),
    "duplicate key below": ("models:\n- name: a\n  source: b\n  name: c\n", 4, "duplicate key"),
    "Python object": ("x: 1\ny: !!python/object/apply:os.system [ls]\n", 2, "python/object/apply:os.system"),
    "unknown tag": ("x: !mine 1\n", 1, "tag '!mine'"),
    "several documents": ("models: []\n---\nmodels: []\n", 2, "another document"),
    "NUL": ("models: []\nx: a\0b\n", 2, r"the character \\x00 is not allowed"),
    "escape": ("# \x1b[31m\n", 1, r"the character \\x1b is not allowed"),
    "integer of 5,000 digits": (f"x: 1\ny: {'9' * 5000}\n", 2, "'9+…' is not a valid int"),
    "impossible date": ("x:\n- 1\n- 2020-13-45\n", 3, "'2020-13-45' is not a valid timestamp"),
    "wrong float": ("x: !!float y\n", 1, "'y' is not a valid float"),
    "wrong bool": ("x: !!bool maybe\n", 1, "'maybe' is not a valid bool"),
    "empty int": ("x: !!int ''\n", 1, "'' is not a valid int"),
    "unhashable key": ("{a: b}: c\n", 1, "unhashable key"),
    "tab": ("a:\n\tb: c\n", 2, "cannot start any token"),
    "not closed": ("a: [\n", 2, "expected the node content|did not find"),
    "another YAML": ("%YAML 3.0\n---\na: 1\n", 1, "version 1"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused_at_once_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_text(text, "utf-8")
    start = time.perf_counter()
    with pytest.raises(SpecError, match=message) as caught:
        read_yaml_file(file)
    assert time.perf_counter() - start < 20
    assert str(caught.value.where).split(", column")[0] == f"{file}, line {line}"
    assert "\n" not in caught.value.what


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_bytes(b"models: []\n# caf\xe9\n")
    with pytest.raises(SpecError, match="it is not UTF-8") as caught:
        read_yaml_file(file)
    assert caught.value.where == f"{file}, line 2"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(SpecError, match="it is not a regular file"):
            read_yaml_file(path)
    for path in (tmp_path / "absent", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(SpecError, match=r"does not exist|cannot be read"):
            read_yaml_file(path)


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    with file.open("wb") as stream:
        stream.truncate(2**30)
    with pytest.raises(SpecError, match=f"more than {LARGEST_FILE // 1024} KiB"):
        read_yaml_file(file)
    file.write_text("[" + "1," * (LARGEST_COUNT + 1) + "]")
    with pytest.raises(SpecError, match="more than 25,000 values"):
        read_yaml_file(file)


def test_anchors_and_merge_keys_of_a_usual_size_work(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_text("\ufeffbase: &base {a: 1, b: [x]}\nother: {<<: *base, a: 2}\nsame: *base\n", "utf-8")
    base = {"a": 1, "b": ["x"]}
    assert read_yaml_file(file) == {"base": base, "other": {"a": 2, "b": ["x"]}, "same": base}
