"""Labels from a list or a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.labels import read_labels
from bundler.errors import UsageError


def test_labels_of_a_file_are_stripped_and_relative_to_the_base(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat \n dog\n", "utf-8")
    assert read_labels("labels.txt", tmp_path) == read_labels(("cat", "dog"), tmp_path) == ("cat", "dog")


def test_byte_order_mark_and_line_ends_of_windows_are_no_part_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog | <b>\r\n".encode())
    assert read_labels("labels.txt", tmp_path) == ("cat", "dog | <b>")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"cat\nd\x1bog\n", r"Label 2, 'd\\x1bog', has a character"), ("a\u2028b".encode(), "Label 1, .* has a character"),
     (b"cat\n\ndog\n", "Label 2 is empty"), (b"", "Label 1 is empty"), (b"\xff", "cannot be read: it is not UTF-8")],
)  # fmt: skip
def test_error_says_what_is_wrong_with_a_file(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message) as info:
        read_labels("labels.txt", tmp_path)
    assert info.value.where == str(tmp_path / "labels.txt")
