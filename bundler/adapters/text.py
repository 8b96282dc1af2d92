"""Sentences as input: string [batch], made into the model's token ids, mask and segments in the graph.

The ids are those of the package `tokenizers`: compared at each build on the sentences of the golden data and on hostile ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH, AdapterCall, check_batched
from bundler.adapters.tokenizer_file import WordPiece, read_tokenizer
from bundler.errors import ParityError, UsageError
from bundler.spec.signature_spec import TextSpec
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec

SENTENCES = (
    "How do I reset my password?",
    "The train to Hamburg leaves at nine; is platform 12 right?",
    "Crème brûlée, Ærøskøbing und Straßenbahn: €3.50!",
    "",
    "机器学习 and 한국어, 😀!",
)
"""In turns for golden data and warm-up."""

_HOSTILE = (
    "   ", "\x00\x01\x7f\u200b\ufeff", "tab\tnew\nline\u00a0\u2028end", "[MASK] [mask] [CLS][SEP]", "a" * 250, "é" * 101,
    "e\u0301e\u0301\u0316", "İSTANBUL ΑΣ ẞ", "👩‍👩‍👧🏽", "\U0010fff0\U000f0000\uffff", "unaffable-ness's (test)...", "ﬁﬀ ǆ ½ ²",
)  # fmt: skip


class TextAdapter:
    """Tokenizes sentences.

    Args:
        behind: inputs of the signature behind.

    Raises:
        UsageError: the tokenizer cannot be lowered, or the model's inputs are not ids, mask and segments.
        ParityError: the graph's ids are not those of `tokenizers`.
    """

    def __init__(self, name: str, behind: Sequence[TensorSpec], spec: TextSpec, base: Path) -> None:
        from bundler.adapters.wordpiece import WordPieceGraph

        check_batched(name, behind, "input")
        self._said = read_tokenizer(spec, base)
        self._name, self._samples = spec.name, spec.samples or SENTENCES
        self._roles = _roles(name, behind, spec)
        self._fixed = _length(name, list(self._roles.values()), spec, self._said)
        self._most = self._fixed or self._said.max_length
        self._graph = WordPieceGraph(self._said)
        self.resources: tuple[Any, ...] = self._graph.resources
        taken = {one.name for one in self._roles.values()}
        others = tuple(one for one in behind if one.name not in taken)
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(spec.name, "string", (BATCH,)), *others)
        self._check(name)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        made = {one.name: tensors[one.name] for one in self.inputs[1:]}
        for role, rows in self._rows(tensors[self._name]).items():
            made[self._roles[role].name] = tf.cast(rows, self._roles[role].dtype)
        return made

    def calls(self, behind: Sequence[AdapterCall]) -> list[AdapterCall]:
        """One for each size of the batch: the sentences in turns."""
        found: dict[int, AdapterCall] = {}
        target = next(iter(self._roles.values())).name
        for call in behind:
            rows = len(call.given[target])
            texts = [self._samples[(len(found) + row) % len(self._samples)] for row in range(rows)]
            given = {self._name: np.array(texts, dtype=str), **{one.name: call.given[one.name] for one in self.inputs[1:]}}
            ids = self._expected(texts)
            made = {self._roles[role].name: array.astype(self._roles[role].dtype) for role, array in ids.items()}
            found.setdefault(rows, AdapterCall(f"text-{rows}", given, {**call.behind, **made}))
        return list(found.values())

    def _rows(self, texts: Any) -> dict[str, Any]:
        """int64 [batch, tokens] by role."""
        import tensorflow as tf

        before, after = (np.array(side, np.int64).reshape(-1, 2) for side in (self._said.before, self._said.after))
        ids = self._graph(texts)
        if self._most is not None:
            ids = ids[:, : self._most - len(self._said.before) - len(self._said.after)]
        batch = ids.nrows()
        own = tf.fill([tf.size(ids.flat_values)], tf.constant(self._said.type_id, tf.int64))
        columns = {"ids": (ids, 0), "types": (ids.with_flat_values(own), 1)}
        made = {}
        for role, (values, column) in columns.items():
            ends = [tf.repeat(side[None, :, column], batch, axis=0) for side in (before, after)]
            whole = tf.concat([_ragged(ends[0]), values, _ragged(ends[1])], axis=1)
            made[role] = whole.to_tensor(self._said.pad[column], shape=[None, self._fixed])
        lengths = ids.row_lengths() + len(self._said.before) + len(self._said.after)
        made["mask"] = tf.sequence_mask(lengths, tf.shape(made["ids"])[1], tf.int64)
        return {role: made[role] for role in self._roles}

    def _expected(self, texts: Sequence[str]) -> dict[str, Array]:
        """What `tokenizers` makes, with the declared truncation and padding."""
        tokenizer = self._said.tokenizer
        tokenizer.no_truncation()
        if self._most is not None:
            tokenizer.enable_truncation(self._most)
        pad_id, pad_type = self._said.pad
        tokenizer.enable_padding(pad_id=pad_id, pad_type_id=pad_type, length=self._fixed)
        rows = tokenizer.encode_batch(list(texts))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        found = {
            "ids": [row.ids for row in rows],
            "mask": [row.attention_mask for row in rows],
            "types": [row.type_ids for row in rows],
        }
        return {role: np.array(found[role], np.int64) for role in self._roles}

    def _check(self, name: str) -> None:
        texts = [*self._samples, *_HOSTILE]
        got = self._rows(np.array([text.encode() for text in texts], object))
        for role, wanted in self._expected(texts).items():
            array = got[role].numpy()
            same = array.shape == wanted.shape and bool((array == wanted).all())
            if not same:
                wrong = [t for t, a, b in zip(texts, array, wanted, strict=True) if a.shape != b.shape or (a != b).any()]
                raise ParityError(
                    f"The signature {name!r}: the graph's {role} are not those of tokenizers, for example for {wrong[0]!r}.",
                    fix="tokenize in the client, and report this with the tokenizer.json",
                )


def _ragged(dense: Any) -> Any:
    import tensorflow as tf

    return tf.RaggedTensor.from_tensor(dense)


def _roles(name: str, behind: Sequence[TensorSpec], spec: TextSpec) -> dict[str, TensorSpec]:
    """ids, mask, types -> the model's input for it; the last two where the model has them."""
    by_name = {one.name: one for one in behind}
    wanted = {"ids": spec.ids, "mask": spec.mask, "types": spec.types}
    found = {role: by_name[text] for role, text in wanted.items() if text in by_name}
    said = [role for role in wanted if role in spec.model_fields_set and wanted[role] is not None and role not in found]
    if said or "ids" not in found:
        role = said[0] if said else "ids"
        raise UsageError(
            f"signatures.{name}.text.{role} is {wanted[role]!r}, and the model has no such input.",
            fix=f"name one of {', '.join(by_name)}, e.g. {role}: {behind[0].name}",
        )
    for one in found.values():
        if len(one.dims) != 2 or one.dtype.startswith("string"):
            raise UsageError(f"The signature {name!r} makes rows of tokens, and the model's input {one} takes none.")
    return found


def _length(name: str, specs: Sequence[TensorSpec], spec: TextSpec, said: WordPiece) -> int | None:
    """Tokens in every row; None: as the longest."""
    sizes = {one.dims[1] for one in specs if isinstance(one.dims[1], int)}
    wanted = spec.max_length or said.max_length
    if sizes:
        size = int(next(iter(sizes)))
        if spec.max_length not in (None, size):
            raise UsageError(
                f"signatures.{name}.text.max_length is {spec.max_length}, and the model takes {size} tokens.",
                fix=f"write max_length: {size}, or leave it out",
            )
        return size
    if spec.padding == "max_length":
        if wanted is None:
            raise UsageError(f"signatures.{name}.text: padding: max_length needs max_length, e.g. max_length: 128")
        return wanted
    return None
