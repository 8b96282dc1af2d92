"""BERT's WordPiece in core TensorFlow operators: strings [batch] -> ragged ids [batch, (tokens)].

1. Special tokens in the text become private characters; invalid UTF-8 becomes U+FFFD.
2. Each character is replaced by the table of `bundler.adapters.characters`; words are what blanks leave.
3. Of each word the longest piece of the vocabulary is taken, then the longest of the rest, with the prefix, all words at once.
   A word with a rest that no piece begins, or of more than `max_word` characters, is unknown.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import tensorflow as tf

from bundler.adapters.characters import APART, PAGE, STAYS, measured
from bundler.adapters.tokenizer_file import WordPiece, private

_CLEARED = "\U0010fffd"
"""Stands for a private character of the user's own: the tables treat all private characters alike."""


class WordPieceGraph:
    """The tokenizer as a function for graphs. Its vocabulary is a file, an asset of the SavedModel."""

    def __init__(self, said: WordPiece) -> None:
        self._said = said
        parts = json.loads(said.tokenizer.to_str())
        table = measured(json.dumps(parts["normalizer"]), json.dumps(parts["pre_tokenizer"]))
        self._pages, self._cells = tf.constant(table.pages), tf.constant(table.cells)
        self._replacements = tf.constant([text.encode() for text in table.replacements])
        folder = tempfile.mkdtemp(prefix="tfbundle-vocabulary-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder, "vocab.txt")
        path.write_bytes("".join(f"{token}\n" for token in said.vocabulary).encode())
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )
        self._unknown = said.vocabulary.index(said.unknown)
        self._longest = max(map(len, said.vocabulary))
        self.resources = (self._table,)

    def __call__(self, texts: Any) -> Any:
        """Ids of a string tensor [batch], without those around a sentence: ragged int64 [batch, (tokens)]."""
        words = tf.strings.split(self._spaced(self._marked(texts)), " ")
        filled = tf.ragged.boolean_mask(words, tf.not_equal(words, ""))
        pieces = self._pieces(filled.flat_values)
        splits = tf.gather(tf.cast(pieces.row_splits, tf.int64), filled.row_splits)
        return tf.RaggedTensor.from_row_splits(pieces.flat_values, splits)

    def _marked(self, texts: Any) -> Any:
        """Special tokens as private characters."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        last = private(len(self._said.special) - 1) if self._said.special else private(0)
        texts = tf.strings.regex_replace(texts, f"[{private(0)}-{last}]", _CLEARED)
        for index, token in sorted(enumerate(self._said.special), key=lambda pair: -len(pair[1])):
            texts = tf.strings.regex_replace(texts, _quoted(token), private(index))
        return texts

    def _spaced(self, texts: Any) -> Any:
        """Normalized, with blanks where words are cut."""
        codes = tf.strings.unicode_decode(texts, "UTF-8")
        code = codes.flat_values
        cell = tf.gather(self._cells, tf.gather(self._pages, code // PAGE) * PAGE + code % PAGE)
        kept = tf.strings.unicode_encode(code[:, None], "UTF-8")
        changed = tf.where(cell == STAYS, kept, tf.gather(self._replacements, cell))
        changed = tf.where(cell == APART, tf.strings.join([" ", kept, " "]), changed)
        first = ord(private(0))
        special = (code >= first) & (code < first + len(self._said.special))
        tokens = tf.constant([f" {token} ".encode() for token in self._said.special] or [b""])
        changed = tf.where(special, tf.gather(tokens, tf.where(special, code - first, 0)), changed)
        return tf.strings.reduce_join(codes.with_flat_values(changed), axis=1)

    def _pieces(self, words: Any) -> Any:
        """Ragged int64 [words, (pieces)]."""
        count = tf.size(words)
        length = tf.strings.length(words, unit="UTF8_CHAR")
        alive = tf.boolean_mask(tf.range(count), length <= self._said.max_word)
        state = (alive, tf.zeros_like(alive), tf.zeros([0], tf.int32), tf.zeros([0], tf.int64), length > self._said.max_word)

        def go_on(alive: Any, *_: Any) -> Any:
            return tf.size(alive) > 0

        def step(alive: Any, start: Any, owners: Any, ids: Any, lost: Any) -> Any:
            found, size = self._longest_piece(tf.gather(words, alive), start)
            missed = tf.boolean_mask(alive, found < 0)
            lost = tf.tensor_scatter_nd_update(lost, missed[:, None], tf.ones_like(missed, tf.bool))
            hit = found >= 0
            owners = tf.concat([owners, tf.boolean_mask(alive, hit)], 0)
            ids = tf.concat([ids, tf.boolean_mask(found, hit)], 0)
            after = start + size
            more = hit & (after < tf.gather(length, alive))
            return tf.boolean_mask(alive, more), tf.boolean_mask(after, more), owners, ids, lost

        dynamic = [tf.TensorShape([None])] * 5
        _, _, owners, ids, lost = tf.while_loop(go_on, step, state, shape_invariants=tuple(dynamic))
        kept = ~tf.gather(lost, owners)
        unknown = tf.boolean_mask(tf.range(count), lost)
        owners = tf.concat([tf.boolean_mask(owners, kept), unknown], 0)
        ids = tf.concat([tf.boolean_mask(ids, kept), tf.fill([tf.size(unknown)], tf.constant(self._unknown, tf.int64))], 0)
        order = tf.argsort(owners, stable=True)
        return tf.RaggedTensor.from_value_rowids(tf.gather(ids, order), tf.gather(owners, order), count)

    def _longest_piece(self, words: Any, start: Any) -> tuple[Any, Any]:
        """Of each word, from a character on: the id of the longest piece that the vocabulary has, or -1, and its characters."""
        rest = tf.strings.length(words, unit="UTF8_CHAR") - start
        most = tf.minimum(tf.reduce_max(rest), self._longest)
        sizes = tf.range(1, most + 1)
        shape = tf.stack([tf.size(words), most])
        taken = tf.minimum(tf.broadcast_to(sizes, shape), rest[:, None])
        parts = tf.strings.substr(
            tf.broadcast_to(words[:, None], shape), tf.broadcast_to(start[:, None], shape), taken, unit="UTF8_CHAR"
        )
        prefix = tf.where(start > 0, self._said.prefix, "")
        found = self._table.lookup(tf.strings.join([tf.broadcast_to(prefix[:, None], shape), parts]))
        best = tf.reduce_max(tf.where(found >= 0, taken, 0), axis=1)
        return tf.gather(found, tf.maximum(best - 1, 0), axis=1, batch_dims=1), best


def _quoted(token: str) -> str:
    """A text as a regular expression of RE2, which knows fewer escapes than Python."""
    return re.sub(r"([\\\[\](){}.*+?^$|])", r"\\\1", token)
