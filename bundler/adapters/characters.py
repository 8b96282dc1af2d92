"""A table of what a tokenizer's normalizer and pre-tokenizer do to each character, measured on the library itself.

BERT's normalizer and pre-tokenizer look at one character at a time: they drop it, keep it, replace it, or make it a word of its
own. A table over all of Unicode therefore describes them, for whichever version of Unicode the library has; a space in a
replacement separates words. The only context-dependent step is NFD's canonical order of combining marks, which affects only
tokenizers that keep these marks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.values.arrays import Array
from serving.lazy import once

PAGE = 256
UNCHANGED, OWN_WORD = 0, 1
_MARK = "|"
_SURROGATES = range(0xD800, 0xE000)
_UNIFORM = (range(0x40000, 0xE0000), range(0xE1000, 0xF0000), range(0xF0000, 0xFFF00), range(0x100000, 0x10FF00))
"""Unassigned and private-use planes, whose characters are all treated alike; only the first page of each is measured."""


@dataclass(frozen=True)
class Characters:
    """A two-level lookup table: `replacements[cells[pages[code // 256] * 256 + code % 256]]`.

    Attributes:
        pages: int32 [4352], the number of each page in `cells`.
        cells: int32 [distinct pages * 256]: `UNCHANGED`, `OWN_WORD`, or the index of a replacement.
        replacements: the texts that replace characters; the first two are placeholders.
    """

    pages: Array
    cells: Array
    replacements: tuple[str, ...]


@once
def measure_characters(normalizer: str, pre_tokenizer: str) -> Characters:
    """Measure the table of a normalizer and a pre-tokenizer, given as the JSON of their sections in a tokenizer.json."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    text = tokenizer.to_str().replace('"normalizer":null', f'"normalizer":{normalizer}')
    tokenizer = Tokenizer.from_str(text.replace('"pre_tokenizer":null', f'"pre_tokenizer":{pre_tokenizer}'))
    replacements: dict[str, int] = {"\0stays": UNCHANGED, "\0apart": OWN_WORD}
    pages: dict[tuple[int, ...], int] = {}
    numbers = []
    uniform = {planes: _page(tokenizer, planes.start, replacements) for planes in _UNIFORM}
    for first in range(0, sys.maxunicode + 1, PAGE):
        shared = next((page for planes, page in uniform.items() if first in planes), None)
        numbers.append(pages.setdefault(shared or _page(tokenizer, first, replacements), len(pages)))
    cells = np.array(list(pages), np.int32).ravel()
    return Characters(np.array(numbers, np.int32), cells, tuple(replacements))


def _page(tokenizer: Any, first: int, replacements: dict[str, int]) -> tuple[int, ...]:
    """Return the cells of the page that starts at a code point; adds new texts to `replacements`."""
    codes = [code for code in range(first, first + PAGE) if code not in _SURROGATES and code != ord(_MARK)]
    if not codes:
        return (UNCHANGED,) * PAGE
    text = tokenizer.normalizer.normalize_str(_MARK.join(f"x{chr(code)}x" for code in codes))
    pieces = " ".join(piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    replaced = dict(zip(codes, (part[1:-1] for part in pieces.split(f" {_MARK} ")), strict=True))
    replaced[ord(_MARK)] = f" {_MARK} "
    return tuple(_cell(replaced.get(code), code, replacements) for code in range(first, first + PAGE))


def _cell(text: str | None, code: int, replacements: dict[str, int]) -> int:
    if text is None or text == chr(code):
        return UNCHANGED
    return OWN_WORD if text == f" {chr(code)} " else replacements.setdefault(text, len(replacements))
