"""The table of characters, measured on the library."""

from __future__ import annotations

import numpy as np
from tokenizers import normalizers

from bundler.adapters.characters import OWN_WORD, PAGE, UNCHANGED, measure_characters


def test_characters_are_kept_replaced_dropped_or_set_apart() -> None:
    normalizer = normalizers.BertNormalizer(lowercase=True).__getstate__().decode()
    table = measure_characters(normalizer, '{"type":"BertPreTokenizer"}')

    def cell(character: str) -> int:
        code = ord(character)
        return int(table.cells[table.pages[code // PAGE] * PAGE + code % PAGE])

    assert cell("a") == UNCHANGED
    assert cell("!") == cell("中") == OWN_WORD
    assert table.replacements[cell("A")] == "a"
    assert table.replacements[cell("é")] == "e"
    assert table.replacements[cell("\t")].strip() == ""
    assert table.replacements[cell("\u200b")] == ""
    assert (table.pages.shape, table.pages.dtype, table.cells.dtype) == ((0x110000 // PAGE,), np.int32, np.int32)
