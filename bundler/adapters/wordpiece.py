"""BERT's WordPiece in core TensorFlow operators: strings [batch] -> ragged ids [batch, (tokens)].

1. Special tokens in the text become private-use characters; invalid UTF-8 becomes U+FFFD.
2. Each character is replaced according to the table of `bundler.adapters.characters`; the result is split at spaces into words.
3. Each word is split greedily: the longest piece of the vocabulary at its start, then the longest piece (with the prefix) at the
   start of the remainder, for all words at once. A word is unknown if no piece matches a remainder, or if it has more than
   `max_word` characters.
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

from bundler.adapters.characters import OWN_WORD, PAGE, UNCHANGED, measure_characters
from bundler.adapters.tokenizer_file import WordPiece, private_character

_SUBSTITUTE = "\U0010fffd"
"""Replaces private-use characters in the user's text, which tokenizers treat all alike."""


class WordPieceGraph:
    """A tokenizer as a TensorFlow function. Its vocabulary is a file, which becomes an asset of the SavedModel."""

    def __init__(self, tokenizer: WordPiece) -> None:
        self._tokenizer = tokenizer
        settings = json.loads(tokenizer.tokenizer.to_str())
        table = measure_characters(json.dumps(settings["normalizer"]), json.dumps(settings["pre_tokenizer"]))
        self._pages, self._cells = tf.constant(table.pages), tf.constant(table.cells)
        self._replacements = tf.constant([text.encode() for text in table.replacements])
        folder = tempfile.mkdtemp(prefix="tfbundle-vocabulary-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder, "vocab.txt")
        path.write_bytes("".join(f"{token}\n" for token in tokenizer.vocabulary).encode())
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )
        self._unknown_id = tokenizer.vocabulary.index(tokenizer.unknown)
        self._longest = max(map(len, tokenizer.vocabulary))
        self.resources = (self._table,)

    def __call__(self, texts: Any) -> Any:
        """Tokenize a string tensor [batch], without adding the tokens before and after: ragged int64 [batch, (tokens)]."""
        words = tf.strings.split(self._normalized(self._mark_special_tokens(texts)), " ")
        words = tf.ragged.boolean_mask(words, tf.not_equal(words, ""))
        pieces = self._pieces(words.flat_values)
        splits = tf.gather(tf.cast(pieces.row_splits, tf.int64), words.row_splits)
        return tf.RaggedTensor.from_row_splits(pieces.flat_values, splits)

    def _mark_special_tokens(self, texts: Any) -> Any:
        """Replace special tokens by private-use characters."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        special = self._tokenizer.special
        first, last = private_character(0), private_character(max(len(special) - 1, 0))
        texts = tf.strings.regex_replace(texts, f"[{first}-{last}]", _SUBSTITUTE)
        for index, token in sorted(enumerate(special), key=lambda pair: -len(pair[1])):
            texts = tf.strings.regex_replace(texts, _escaped(token), private_character(index))
        return texts

    def _normalized(self, texts: Any) -> Any:
        """Normalize the texts and insert spaces between words."""
        codes = tf.strings.unicode_decode(texts, "UTF-8")
        code = codes.flat_values
        cell = tf.gather(self._cells, tf.gather(self._pages, code // PAGE) * PAGE + code % PAGE)
        character = tf.strings.unicode_encode(code[:, None], "UTF-8")
        replaced = tf.where(cell == UNCHANGED, character, tf.gather(self._replacements, cell))
        replaced = tf.where(cell == OWN_WORD, tf.strings.join([" ", character, " "]), replaced)
        first = ord(private_character(0))
        is_special = (code >= first) & (code < first + len(self._tokenizer.special))
        tokens = tf.constant([f" {token} ".encode() for token in self._tokenizer.special] or [b""])
        replaced = tf.where(is_special, tf.gather(tokens, tf.where(is_special, code - first, 0)), replaced)
        return tf.strings.reduce_join(codes.with_flat_values(replaced), axis=1)

    def _pieces(self, words: Any) -> Any:
        """Split words [words] into pieces: ragged int64 [words, (pieces)].

        The loop's state is the words in progress (their indices) and the character at which each continues, the pieces found (the
        index of their word, and their ids), and for every word whether it is unknown.
        """
        count = tf.size(words)
        length = tf.strings.length(words, unit="UTF8_CHAR")
        limit = self._tokenizer.max_word
        active = tf.boolean_mask(tf.range(count), length <= limit)
        state = (active, tf.zeros_like(active), tf.zeros([0], tf.int32), tf.zeros([0], tf.int64), length > limit)

        def has_active(active: Any, *_: Any) -> Any:
            return tf.size(active) > 0

        def step(active: Any, start: Any, owners: Any, ids: Any, unknown: Any) -> Any:
            piece, size = self._longest_piece(tf.gather(words, active), start)
            missed = tf.boolean_mask(active, piece < 0)
            unknown = tf.tensor_scatter_nd_update(unknown, missed[:, None], tf.ones_like(missed, tf.bool))
            hit = piece >= 0
            owners = tf.concat([owners, tf.boolean_mask(active, hit)], 0)
            ids = tf.concat([ids, tf.boolean_mask(piece, hit)], 0)
            end = start + size
            more = hit & (end < tf.gather(length, active))
            return tf.boolean_mask(active, more), tf.boolean_mask(end, more), owners, ids, unknown

        dynamic = [tf.TensorShape([None])] * 5
        _, _, owners, ids, unknown = tf.while_loop(has_active, step, state, shape_invariants=tuple(dynamic))
        known = ~tf.gather(unknown, owners)
        unknown = tf.boolean_mask(tf.range(count), unknown)
        owners = tf.concat([tf.boolean_mask(owners, known), unknown], 0)
        known_ids = tf.boolean_mask(ids, known)
        ids = tf.concat([known_ids, tf.fill([tf.size(unknown)], tf.constant(self._unknown_id, tf.int64))], 0)
        order = tf.argsort(owners, stable=True)
        return tf.RaggedTensor.from_value_rowids(tf.gather(ids, order), tf.gather(owners, order), count)

    def _longest_piece(self, words: Any, start: Any) -> tuple[Any, Any]:
        """Return the id (or -1) and the length of the vocabulary's longest piece at character `start` of each word."""
        remaining = tf.strings.length(words, unit="UTF8_CHAR") - start
        longest = tf.minimum(tf.reduce_max(remaining), self._longest)
        sizes = tf.range(1, longest + 1)
        shape = tf.stack([tf.size(words), longest])
        lengths = tf.minimum(tf.broadcast_to(sizes, shape), remaining[:, None])
        parts = tf.strings.substr(
            tf.broadcast_to(words[:, None], shape), tf.broadcast_to(start[:, None], shape), lengths, unit="UTF8_CHAR"
        )
        prefix = tf.where(start > 0, self._tokenizer.prefix, "")
        ids = self._table.lookup(tf.strings.join([tf.broadcast_to(prefix[:, None], shape), parts]))
        best = tf.reduce_max(tf.where(ids >= 0, lengths, 0), axis=1)
        return tf.gather(ids, tf.maximum(best - 1, 0), axis=1, batch_dims=1), best


def _escaped(token: str) -> str:
    """Return a regular expression that matches the token. RE2 knows fewer escapes than Python's `re.escape` writes."""
    return re.sub(r"([\\\[\](){}.*+?^$|])", r"\\\1", token)
