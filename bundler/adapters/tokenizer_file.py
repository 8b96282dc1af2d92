"""Reads a tokenizer.json or vocab.txt of a BERT WordPiece tokenizer, the only kind that the graph supports.

1. tokenizer.json (of the package `tokenizers`): model WordPiece; normalizer BertNormalizer; pre-tokenizer BertPreTokenizer;
   post-processor BertProcessing or TemplateProcessing of one sentence; ids without gaps.
2. vocab.txt: one token per line, with [UNK], [CLS], [SEP] and [PAD]; uncased unless `lowercase: false`.
3. Everything else is rejected: BPE, Unigram, and other normalizers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.errors import MissingExtraError, UsageError
from bundler.spec.signature_spec import TextSpec

_FILES = ("tokenizer.json", "vocab.txt")
_PRIVATE = 0x10FFF0
"""First of the 13 private-use characters that stand for special tokens while a text is split."""
MAX_SPECIAL = 13


@dataclass(frozen=True)
class WordPiece:
    """A WordPiece tokenizer that can be built into the graph.

    Attributes:
        vocabulary: tokens by id.
        unknown: the token for a word that cannot be split into pieces.
        prefix: prefix of pieces that continue a word.
        max_word: longest word in characters after normalization; longer words are unknown.
        before, after: (id, type id) of the tokens before and after a sentence.
        type_id: type id of the sentence's own tokens.
        special: tokens that are recognized verbatim in the text.
        pad: (id, type id) of padding.
        max_length: maximum number of tokens, including those before and after the sentence; None for no limit.
        tokenizer: the reference, a `tokenizers.Tokenizer` without padding and truncation.
    """

    vocabulary: tuple[str, ...]
    unknown: str
    prefix: str
    max_word: int
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    type_id: int
    special: tuple[str, ...]
    pad: tuple[int, int]
    max_length: int | None
    tokenizer: Any


def read_tokenizer(spec: TextSpec, base: Path) -> WordPiece:
    """Read the tokenizer that a `text` section names.

    Args:
        spec: the `text` section of a signature's spec.
        base: folder that a relative path starts from.

    Raises:
        UsageError: the file does not exist or cannot be read, or the graph does not support its tokenizer.
        MissingExtraError: the package `tokenizers`, which the graph is compared with, is not installed.
    """
    path = _find(spec.tokenizer, base)
    try:
        import tokenizers
    except ImportError as exc:
        raise MissingExtraError("tokenizers", "hf", purpose="A text signature, compared with tokenizers' ids,") from exc
    if path.suffix == ".txt":
        return _word_piece(_from_vocabulary(path, spec.lowercase), path, spec)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises a bare Exception for a file that it cannot read
        what = f"{path.name} is not a tokenizer: {exc}."
        raise UsageError(what, where=str(path), fix="give a tokenizer.json or vocab.txt", code="TFB1304") from exc
    return _word_piece(tokenizer, path, spec)


def _find(tokenizer: str, base: Path) -> Path:
    path = base / tokenizer
    files = [path / name for name in _FILES if (path / name).is_file()] if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UsageError(
            f"The tokenizer {tokenizer} does not exist.",
            where=str(path),
            fix="give a tokenizer.json, a vocab.txt, or a folder with one of them",
            code="TFB1304",
        )
    return files[0]


def _from_vocabulary(path: Path, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(
            f"{path.name} cannot be read: {exc}.",
            where=str(path),
            fix="give a UTF-8 file with one token per line",
            code="TFB1304",
        ) from exc
    tokens = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    ids = {token: index for index, token in enumerate(tokens)}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]", "[PAD]") if token not in ids]
    if missing:
        raise UsageError(
            f"{path.name} has no token {missing[0]}.",
            where=str(path),
            fix="give the vocab.txt of a BERT model",
            code="TFB1304",
        )
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.add_special_tokens([t for t in ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]") if t in ids])
    return tokenizer


def _word_piece(tokenizer: Any, path: Path, spec: TextSpec) -> WordPiece:
    """Return the tokenizer as a WordPiece; raise UsageError if the graph does not support it."""
    settings = json.loads(tokenizer.to_str())
    model = settings["model"]
    _check_kind("model", model, ("WordPiece",), path)
    _check_kind("normalizer", settings["normalizer"], ("BertNormalizer",), path)
    _check_kind("pre_tokenizer", settings["pre_tokenizer"], ("BertPreTokenizer",), path)
    before, type_id, after = _template(settings["post_processor"], path)
    padding, truncation = settings.get("padding") or {}, settings.get("truncation") or {}
    for key, section in (("padding", padding), ("truncation", truncation)):
        if section.get("direction", "Right") != "Right":
            raise _unsupported(path, f"its {key} is on the left")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocabulary = _vocabulary(tokenizer, path)
    return WordPiece(
        vocabulary,
        model["unk_token"],
        model["continuing_subword_prefix"],
        model["max_input_chars_per_word"],
        before,
        after,
        type_id,
        _special_tokens(settings["added_tokens"], path),
        (padding.get("pad_id", vocabulary.index("[PAD]") if "[PAD]" in vocabulary else 0), padding.get("pad_type_id", 0)),
        spec.max_length or truncation.get("max_length"),
        tokenizer,
    )


def _check_kind(part: str, section: Mapping[str, Any] | None, supported: tuple[str, ...], path: Path) -> None:
    kind = section["type"] if section else "none"
    if kind not in supported:
        raise _unsupported(path, f"its {part} is {kind}; the graph supports {' and '.join(supported)}")


def _unsupported(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"The tokenizer {path.name} cannot be built into the graph: {reason}.",
        where=str(path),
        fix="tokenize in the client, and send the ids to serving_default",
        code="TFB1305",
    )


def _vocabulary(tokenizer: Any, path: Path) -> tuple[str, ...]:
    ids = tokenizer.get_vocab(with_added_tokens=True)
    by_id = {index: token for token, index in ids.items()}
    if sorted(by_id) != list(range(len(ids))):
        raise _unsupported(path, "its ids have gaps, or two tokens share an id")
    wrong = [token for token in ids if "\n" in token or "\r" in token or not token]
    if wrong:
        raise _unsupported(path, f"the token {wrong[0]!r} cannot be a line of a vocabulary file")
    return tuple(by_id[index] for index in range(len(by_id)))


def _special_tokens(added: list[dict[str, Any]], path: Path) -> tuple[str, ...]:
    for token in added:
        unsupported = [key for key in ("single_word", "lstrip", "rstrip", "normalized") if token[key]]
        if unsupported:
            raise _unsupported(path, f"its added token {token['content']!r} sets {unsupported[0]}")
    if len(added) > MAX_SPECIAL:
        raise _unsupported(path, f"it has {len(added)} added tokens; the graph supports at most {MAX_SPECIAL}")
    return tuple(token["content"] for token in added)


_Ids = tuple[tuple[int, int], ...]


def _template(post_processor: Mapping[str, Any] | None, path: Path) -> tuple[_Ids, int, _Ids]:
    """Return (id, type id) of the tokens before a sentence, the sentence's own type id, and those of the tokens after it."""
    if post_processor is None:
        return (), 0, ()
    if post_processor["type"] == "BertProcessing":
        return ((post_processor["cls"][1], 0),), 0, ((post_processor["sep"][1], 0),)
    _check_kind("post_processor", post_processor, ("TemplateProcessing", "BertProcessing"), path)
    parts: list[list[tuple[int, int]]] = [[]]
    type_ids = []
    for item in post_processor["single"]:
        if "Sequence" in item:
            parts.append([])
            type_ids.append(item["Sequence"]["type_id"])
        else:
            token = item["SpecialToken"]
            ids = post_processor["special_tokens"][token["id"]]["ids"]
            parts[-1] += [(index, token["type_id"]) for index in ids]
    if len(parts) != 2:
        raise _unsupported(path, "its template does not have exactly one sentence")
    return tuple(parts[0]), type_ids[0], tuple(parts[1])


def private_character(index: int) -> str:
    """Return the character that stands for a special token while a text is split."""
    return chr(_PRIVATE + index)
