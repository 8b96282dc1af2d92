from __future__ import annotations

from serving.texts import plural


def test_numbers_agree_with_their_nouns() -> None:
    assert [plural(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert plural(3, "kind of operator", "kinds of operator") == "3 kinds of operator"
