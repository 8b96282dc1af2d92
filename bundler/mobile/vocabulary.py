"""The vocabulary for tasks of MediaPipe that take sentences.

The tokenizers are in mediapipe/tasks/cc/text/tokenizers:

1. For token ids, mask and segment ids, WordPiece (bert_tokenizer.cc): ASCII letters become lower case, accents are kept, words
   are split into pieces with the prefix ##, and [CLS] is put before and [SEP] after them; the padding is 0.
2. For one input of word ids, a list of words and ids (regex_tokenizer.cc): a sentence is split at `WORD_ENDS`; the id of <START>
   is put first if there is one, and <UNKNOWN> and <PAD> stand for other words and for the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.adapters.tokenizer_file import WordPiece, read_tokenizer
from bundler.errors import UsageError
from bundler.process.causes import cause_of
from bundler.spec.signature_spec import TextSpec
from bundler.values.signature import TensorSpec

ROLES: Mapping[str, Sequence[str]] = {
    "ids": ("input_ids", "ids"),
    "mask": ("attention_mask", "input_mask", "mask"),
    "segment_ids": ("token_type_ids", "segment_ids"),
}
"""The names that MediaPipe gives to the inputs in metadata, and those of models."""


_LINE = re.compile(r"\S+ \d+")
WORD_ENDS = r"[^\w']+"
"""What separates words."""


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary within a file.

    Attributes:
        lines: a token by id, or a word and its id, per line.
        roles: a key of `ROLES` for each input; empty for words.
        file: name of the associated file that holds the lines.
    """

    lines: tuple[str, ...]
    roles: Mapping[str, str]
    file: str = "vocab.txt"

    @property
    def content(self) -> bytes:
        """Content of the associated file."""
        return "".join(f"{line}\n" for line in self.lines).encode()


def read_vocabulary(path: str, inputs: Sequence[TensorSpec]) -> Vocabulary:
    """Read the vocabulary of a tokenizer for a model that takes its tokens.

    Args:
        path: a tokenizer.json, a vocab.txt, or a folder that contains one; a text file for a model that takes word ids.
        inputs: the inputs of the .tflite files.

    Raises:
        UsageError: the file cannot be read, MediaPipe's tokenizer differs from this one, or the model takes other inputs.
        MissingExtraError: the package `tokenizers` is not installed.
    """
    if takes_words(inputs):
        return Vocabulary(_words(path), {})
    roles = input_roles(inputs)
    if roles is None:
        raise UsageError(
            "MediaPipe's text tasks need token ids, mask and segment ids, or word ids alone, each int32 [1, length].",
            where=", ".join(map(str, inputs)),
            fix="omit --tokenizer, or name the model's inputs input_ids, attention_mask and token_type_ids",
            code="TFB4503",
        )
    tokenizer = read_tokenizer(TextSpec(tokenizer=path), Path())
    difference = _difference(tokenizer)
    if difference:
        raise UsageError(
            f"MediaPipe's tokenizer would answer differently from {Path(path).name}: {difference}.",
            where=path,
            fix="omit --tokenizer, and tokenize in the app",
            code="TFB4503",
        )
    return Vocabulary(tokenizer.vocabulary, roles)


def input_roles(inputs: Sequence[TensorSpec]) -> dict[str, str] | None:
    """Return the role of each input, or None if they are not token ids, mask and segment ids of one length."""
    by_name = {name: role for role, names in ROLES.items() for name in names}
    roles = {spec.name: by_name[spec.name] for spec in inputs if spec.name in by_name}
    shapes = {(spec.dtype, spec.dims) for spec in inputs}
    are_tokens = len(shapes) == 1 and all(dtype == "int32" and len(dims) == 2 and dims[0] == 1 for dtype, dims in shapes)
    return roles if are_tokens and len(inputs) == len(ROLES) and set(roles.values()) == set(ROLES) else None


def takes_words(inputs: Sequence[TensorSpec]) -> bool:
    """Return whether the only input holds ids of words."""
    return len(inputs) == 1 and inputs[0].dtype == "int32" and len(inputs[0].dims) == 2 and inputs[0].dims[0] == 1


def _words(path: str) -> tuple[str, ...]:
    """Read lines of a word and its id.

    Raises:
        UsageError: the file cannot be read, a line has another form, or <PAD> or <UNKNOWN> is missing.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"The vocabulary cannot be read: {cause_of(exc)}.", where=path, code="TFB4503") from exc
    wrong = next((line for line in lines if not _LINE.fullmatch(line)), None)
    missing = {"<PAD>", "<UNKNOWN>"} - {line.partition(" ")[0] for line in lines}
    if wrong is not None or missing:
        reason = f"has the line {wrong!r}" if wrong is not None else f"has no {min(missing)}"
        raise UsageError(
            f"The vocabulary of a model that takes word ids {reason}.",
            where=path,
            fix="write a word and its id per line, such as `good 7`, with <PAD>, <UNKNOWN> and optionally <START>",
            code="TFB4503",
        )
    return tuple(lines)


def _difference(tokenizer: WordPiece) -> str:
    tokens = tokenizer.vocabulary
    if not json.loads(tokenizer.tokenizer.to_str())["normalizer"]["lowercase"]:
        return "it distinguishes upper and lower case"
    cased = next((token for token in tokens if token != token.lower() and not (token[0] == "[" and token[-1] == "]")), None)
    if cased:
        return f"its token {cased!r} has an upper-case letter"
    if tokenizer.prefix != "##" or tokenizer.unknown != "[UNK]":
        return f"pieces begin with {tokenizer.prefix!r}, and {tokenizer.unknown!r} stands for unknown words"
    around = [[tokens[index] for index, _ in side] for side in (tokenizer.before, tokenizer.after)]
    types = {type_id for _, type_id in (*tokenizer.before, *tokenizer.after)} | {tokenizer.type_id}
    if around != [["[CLS]"], ["[SEP]"]] or types != {0}:
        return "it puts other tokens around a sentence than [CLS] and [SEP], or numbers its segment otherwise"
    return "" if tokenizer.pad[0] == 0 else f"its padding is {tokenizer.pad[0]}"
