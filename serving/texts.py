"""Words for people that messages of both packages need."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: `1 file`, `2 files`.

    Args:
        count: the number.
        noun: the noun in the singular.
        nouns: the noun in the plural, if it is not formed with -s.
    """
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
