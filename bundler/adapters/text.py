"""Input adapter for text: string [batch], converted into the model's token ids, mask and segment ids in the graph.

Each build compares the ids with those of the package `tokenizers`, for the sentences of the golden data and for difficult ones.
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
"""Used in turn for golden data and warm-up."""

_DIFFICULT = (
    "   ", "\x00\x01\x7f\u200b\ufeff", "tab\tnew\nline\u00a0\u2028end", "[MASK] [mask] [CLS][SEP]", "a" * 250, "é" * 101,
    "e\u0301e\u0301\u0316", "İSTANBUL ΑΣ ẞ", "👩‍👩‍👧🏽", "\U0010fff0\U000f0000\uffff", "unaffable-ness's (test)...", "ﬁﬀ ǆ ½ ²",
)  # fmt: skip


class TextAdapter:
    """Tokenizes sentences.

    Args:
        name: the derived signature.
        base_inputs: inputs of the wrapped signature.
        spec: the `text` section of the signature's spec.
        base: folder that a relative path of the tokenizer starts from.

    Raises:
        UsageError: the tokenizer cannot be built into the graph, or the model's inputs do not take ids, mask and segment ids.
        ParityError: the graph's ids differ from those of `tokenizers`.
    """

    def __init__(self, name: str, base_inputs: Sequence[TensorSpec], spec: TextSpec, base: Path) -> None:
        from bundler.adapters.wordpiece import WordPieceGraph

        check_batched(name, base_inputs, "input")
        self._tokenizer = read_tokenizer(spec, base)
        self._name, self._samples = spec.name, spec.samples or SENTENCES
        self._roles = _roles(name, base_inputs, spec)
        self._row_length = _row_length(name, list(self._roles.values()), spec, self._tokenizer)
        self._max_length = self._row_length or self._tokenizer.max_length
        self._graph = WordPieceGraph(self._tokenizer)
        self.resources: tuple[Any, ...] = self._graph.resources
        filled = {target.name for target in self._roles.values()}
        others = tuple(other for other in base_inputs if other.name not in filled)
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(spec.name, "string", (BATCH,)), *others)
        self._check(name)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Tokenize the sentences; other inputs pass through."""
        import tensorflow as tf

        base_inputs = {other.name: tensors[other.name] for other in self.inputs[1:]}
        for role, rows in self._rows(tensors[self._name]).items():
            base_inputs[self._roles[role].name] = tf.cast(rows, self._roles[role].dtype)
        return base_inputs

    def calls(self, base_calls: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Build one call for each batch size of the base calls, with the sample sentences in turn.

        The base inputs hold the ids that `tokenizers` gives (see `InputAdapter.calls`).
        """
        calls: dict[int, AdapterCall] = {}
        target = next(iter(self._roles.values())).name
        for call in base_calls:
            rows = len(call.inputs[target])
            texts = [self._samples[(len(calls) + row) % len(self._samples)] for row in range(rows)]
            others = {other.name: call.inputs[other.name] for other in self.inputs[1:]}
            expected = {
                self._roles[role].name: array.astype(self._roles[role].dtype)
                for role, array in self._expected(texts).items()
            }
            inputs = {self._name: np.array(texts, dtype=str), **others}
            calls.setdefault(rows, AdapterCall(f"text-{rows}", inputs, {**call.base_inputs, **expected}))
        return list(calls.values())

    def _rows(self, texts: Any) -> dict[str, Any]:
        """Return int64 [batch, tokens] for each role."""
        import tensorflow as tf

        tokenizer = self._tokenizer
        before, after = (np.array(side, np.int64).reshape(-1, 2) for side in (tokenizer.before, tokenizer.after))
        ids = self._graph(texts)
        if self._max_length is not None:
            ids = ids[:, : self._max_length - len(tokenizer.before) - len(tokenizer.after)]
        batch = ids.nrows()
        type_ids = tf.fill([tf.size(ids.flat_values)], tf.constant(tokenizer.type_id, tf.int64))
        columns = {"ids": (ids, 0), "types": (ids.with_flat_values(type_ids), 1)}
        rows = {}
        for role, (values, column) in columns.items():
            ends = [tf.repeat(side[None, :, column], batch, axis=0) for side in (before, after)]
            whole = tf.concat([_ragged(ends[0]), values, _ragged(ends[1])], axis=1)
            rows[role] = whole.to_tensor(tokenizer.pad[column], shape=[None, self._row_length])
        lengths = ids.row_lengths() + len(tokenizer.before) + len(tokenizer.after)
        rows["mask"] = tf.sequence_mask(lengths, tf.shape(rows["ids"])[1], tf.int64)
        return {role: rows[role] for role in self._roles}

    def _expected(self, texts: Sequence[str]) -> dict[str, Array]:
        """Return what `tokenizers` gives with the declared truncation and padding: int64 [texts, tokens] for each role."""
        tokenizer = self._tokenizer.tokenizer
        tokenizer.no_truncation()
        if self._max_length is not None:
            tokenizer.enable_truncation(self._max_length)
        pad_id, pad_type = self._tokenizer.pad
        tokenizer.enable_padding(pad_id=pad_id, pad_type_id=pad_type, length=self._row_length)
        rows = tokenizer.encode_batch(list(texts))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        expected = {
            "ids": [row.ids for row in rows],
            "mask": [row.attention_mask for row in rows],
            "types": [row.type_ids for row in rows],
        }
        return {role: np.array(expected[role], np.int64) for role in self._roles}

    def _check(self, name: str) -> None:
        texts = [*self._samples, *_DIFFICULT]
        rows = self._rows(np.array([text.encode() for text in texts], object))
        for role, expected in self._expected(texts).items():
            array = rows[role].numpy()
            if array.shape != expected.shape or bool((array != expected).any()):
                wrong = [t for t, a, b in zip(texts, array, expected, strict=True) if a.shape != b.shape or (a != b).any()]
                raise ParityError(
                    f"The signature {name!r} does not give the {role} that the package tokenizers gives, "
                    f"for example for {wrong[0]!r}.",
                    fix="tokenize in the client, and report this with the tokenizer.json",
                    code="TFB3403",
                )


def _ragged(dense: Any) -> Any:
    import tensorflow as tf

    return tf.RaggedTensor.from_tensor(dense)


def _roles(name: str, base_inputs: Sequence[TensorSpec], spec: TextSpec) -> dict[str, TensorSpec]:
    """Return the model's input for each of the roles ids, mask and types; the last two only if the model has them."""
    by_name = {base_input.name: base_input for base_input in base_inputs}
    names = {"ids": spec.ids, "mask": spec.mask, "types": spec.types}
    roles = {role: by_name[input_name] for role, input_name in names.items() if input_name in by_name}
    missing = [role for role in names if role in spec.model_fields_set and names[role] is not None and role not in roles]
    if missing or "ids" not in roles:
        role = missing[0] if missing else "ids"
        raise UsageError(
            f"signatures.{name}.text.{role} is {names[role]!r}, but the model has no such input.",
            fix=f"choose one of: {', '.join(by_name)}; e.g. {role}: {base_inputs[0].name}",
            code="TFB1301",
        )
    for target in roles.values():
        if len(target.dims) != 2 or target.dtype.startswith("string"):
            raise UsageError(
                f"The signature {name!r} gives rows of tokens, which the model's input {target} cannot take.",
                fix=f"choose an input of numbers with two dims, [batch, tokens], for signatures.{name}.text",
                code="TFB1302",
            )
    return roles


def _row_length(name: str, specs: Sequence[TensorSpec], spec: TextSpec, tokenizer: WordPiece) -> int | None:
    """Return the fixed number of tokens per row, or None to pad to the longest row of each request."""
    sizes = {target.dims[1] for target in specs if isinstance(target.dims[1], int)}
    max_length = spec.max_length or tokenizer.max_length
    if sizes:
        size = int(next(iter(sizes)))
        if spec.max_length not in (None, size):
            raise UsageError(
                f"signatures.{name}.text.max_length is {spec.max_length}, but the model takes {size} tokens.",
                fix=f"set max_length: {size}, or omit it",
                code="TFB1302",
            )
        return size
    if spec.padding == "max_length":
        if max_length is None:
            raise UsageError(
                f"signatures.{name}.text: `padding: max_length` needs max_length.",
                fix="set e.g. max_length: 128",
                code="TFB1302",
            )
        return max_length
    return None
