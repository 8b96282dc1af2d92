"""What a tokenizer's normalizer and pre-tokenizer make of each character, measured on the library itself.

BERT's normalizer and pre-tokenizer look at one character at a time: they drop it, keep it, change it, or set it apart. So
a table of all of Unicode says what they do, with whatever version of Unicode the library has: blank means a cut. The one thing
that depends on neighbours is NFD's order of combining marks; the marks that could be in another order are those that are kept.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from bundler.values.arrays import Array

PAGE = 256
STAYS, APART = 0, 1
_MARK = "|"
_SURROGATES = range(0xD800, 0xE000)
_ALIKE = (range(0x40000, 0xE0000), range(0xE1000, 0xF0000), range(0xF0000, 0xFFF00), range(0x100000, 0x10FF00))
"""Unassigned planes and private ones, each without a difference; of each the first page is measured."""


@dataclass(frozen=True)
class Characters:
    """A table in two steps: `replacements[cells[pages[code // 256] * 256 + code % 256]]`.

    Attributes:
        pages: int32 [4352].
        cells: int32 [pages that differ * 256]: `STAYS`, `APART` (a word of its own), or the number of a replacement.
        replacements: what stands for the character; the first two are not used.
    """

    pages: Array
    cells: Array
    replacements: tuple[str, ...]


@cache
def measured(normalizer: str, pre_tokenizer: str) -> Characters:
    """The table of a normalizer and a pre-tokenizer, given as JSON of a tokenizer.json."""
    from tokenizers import Tokenizer, models

    made = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    text = made.to_str().replace('"normalizer":null', f'"normalizer":{normalizer}')
    made = Tokenizer.from_str(text.replace('"pre_tokenizer":null', f'"pre_tokenizer":{pre_tokenizer}'))
    known: dict[str, int] = {"\0stays": STAYS, "\0apart": APART}
    pages: dict[tuple[int, ...], int] = {}
    numbers = []
    alike = {planes: _page(made, planes.start, known) for planes in _ALIKE}
    for first in range(0, sys.maxunicode + 1, PAGE):
        same = next((page for planes, page in alike.items() if first in planes), None)
        numbers.append(pages.setdefault(same or _page(made, first, known), len(pages)))
    cells = np.array(list(pages), np.int32).ravel()
    return Characters(np.array(numbers, np.int32), cells, tuple(known))


def _page(made: Any, first: int, known: dict[str, int]) -> tuple[int, ...]:
    codes = [code for code in range(first, first + PAGE) if code not in _SURROGATES and code != ord(_MARK)]
    if not codes:
        return (STAYS,) * PAGE
    text = _MARK.join(f"x{chr(code)}x" for code in codes)
    pieces = " ".join(piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(made.normalizer.normalize_str(text)))
    replaced = dict(zip(codes, (part[1:-1] for part in pieces.split(f" {_MARK} ")), strict=True))
    replaced[ord(_MARK)] = f" {_MARK} "
    return tuple(_cell(replaced.get(code), code, known) for code in range(first, first + PAGE))


def _cell(text: str | None, code: int, known: dict[str, int]) -> int:
    if text is None or text == chr(code):
        return STAYS
    return APART if text == f" {chr(code)} " else known.setdefault(text, len(known))
