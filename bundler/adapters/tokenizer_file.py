"""What a tokenizer.json or vocab.txt says, as far as the graph can do it: BERT's WordPiece.

1. tokenizer.json (of the package `tokenizers`): model WordPiece; normalizer BertNormalizer; pre-tokenizer BertPreTokenizer;
   post-processor BertProcessing or TemplateProcessing of one sentence; ids without gaps.
2. vocab.txt: a token a line, with [UNK], [CLS], [SEP] and [PAD]; uncased unless `lowercase: false`.
3. Everything else is refused: BPE, Unigram and other normalizers are not lowered.
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
"""Private-use characters that stand for special tokens while a text is split; there are 13."""
MAX_SPECIAL = 13


@dataclass(frozen=True)
class WordPiece:
    """A tokenizer that the graph can be.

    Attributes:
        vocabulary: tokens by id.
        unknown: the token for a word without pieces.
        prefix: of pieces that continue a word.
        max_word: longer words, in characters after normalization, are unknown.
        before, after: (id, type id) around a sentence; `type_id` its own.
        special: tokens that are found in the text as they stand.
        pad: (id, type id) of padding.
        max_length: tokens kept of a text, those around it among them; None: all.
        tokenizer: the same in the package `tokenizers`, without padding and truncation: what the graph has to equal.
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
    """Read a tokenizer.

    Args:
        base: folder that a relative path starts from.

    Raises:
        UsageError: there is no such file, or it says what the graph cannot do.
        MissingExtraError: the package `tokenizers`, which the graph is compared with, is not installed.
    """
    path = _find(spec.tokenizer, base)
    try:
        import tokenizers
    except ImportError as exc:
        raise MissingExtraError("tokenizers", "hf", purpose="A text signature, compared with tokenizers' ids,") from exc
    if path.suffix == ".txt":
        return _of_tokenizer(_from_vocabulary(path, spec.lowercase), path, spec)
    try:
        made = tokenizers.Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises a bare Exception for a file that it cannot read
        what = f"{path.name} is no tokenizer: {exc}."
        raise UsageError(what, where=str(path), fix="give a tokenizer.json or vocab.txt") from exc
    return _of_tokenizer(made, path, spec)


def _find(text: str, base: Path) -> Path:
    path = base / text
    found = [path / name for name in _FILES if (path / name).is_file()] if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise UsageError(
            f"There is no tokenizer {text}.", where=str(path), fix="give a tokenizer.json, a vocab.txt, or a folder that has one"
        )
    return found[0]


def _from_vocabulary(path: Path, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path.name} cannot be read: {exc}.", where=str(path), fix="give a UTF-8 file, a token a line") from exc
    tokens = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    ids = {token: index for index, token in enumerate(tokens)}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]", "[PAD]") if token not in ids]
    if missing:
        raise UsageError(f"{path.name} has no token {missing[0]}.", where=str(path), fix="give the vocab.txt of a BERT model")
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    made.add_special_tokens([t for t in ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]") if t in ids])
    return made


def _of_tokenizer(made: Any, path: Path, spec: TextSpec) -> WordPiece:
    said = json.loads(made.to_str())
    model = said["model"]
    _check_kind("model", model, ("WordPiece",), path)
    _check_kind("normalizer", said["normalizer"], ("BertNormalizer",), path)
    _check_kind("pre_tokenizer", said["pre_tokenizer"], ("BertPreTokenizer",), path)
    before, type_id, after = _around(said["post_processor"], path)
    padding, truncation = said.get("padding") or {}, said.get("truncation") or {}
    for key, rules in (("padding", padding), ("truncation", truncation)):
        if rules.get("direction", "Right") != "Right":
            raise _refused(path, f"its {key} is on the left")
    made.no_padding()
    made.no_truncation()
    vocabulary = _vocabulary(made, path)
    return WordPiece(
        vocabulary,
        model["unk_token"],
        model["continuing_subword_prefix"],
        model["max_input_chars_per_word"],
        before,
        after,
        type_id,
        _special(said["added_tokens"], path),
        (padding.get("pad_id", vocabulary.index("[PAD]") if "[PAD]" in vocabulary else 0), padding.get("pad_type_id", 0)),
        spec.max_length or truncation.get("max_length"),
        made,
    )


def _check_kind(part: str, said: Mapping[str, Any] | None, known: tuple[str, ...], path: Path) -> None:
    kind = said["type"] if said else "none"
    if kind not in known:
        raise _refused(path, f"its {part} is {kind}; the graph has {' and '.join(known)}")


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        f"The tokenizer {path.name} cannot be built into the graph: {why}.",
        where=str(path),
        fix="tokenize in the client, and send the ids to serving_default",
    )


def _vocabulary(made: Any, path: Path) -> tuple[str, ...]:
    ids = made.get_vocab(with_added_tokens=True)
    by_id = {index: token for token, index in ids.items()}
    if sorted(by_id) != list(range(len(ids))):
        raise _refused(path, "its ids have gaps, or two tokens one id")
    wrong = [token for token in ids if "\n" in token or "\r" in token or not token]
    if wrong:
        raise _refused(path, f"the token {wrong[0]!r} is no line of a vocabulary file")
    return tuple(by_id[index] for index in range(len(by_id)))


def _special(added: list[dict[str, Any]], path: Path) -> tuple[str, ...]:
    for token in added:
        odd = [key for key in ("single_word", "lstrip", "rstrip", "normalized") if token[key]]
        if odd:
            raise _refused(path, f"its added token {token['content']!r} is {odd[0]}")
    if len(added) > MAX_SPECIAL:
        raise _refused(path, f"it has {len(added)} added tokens; the graph takes {MAX_SPECIAL}")
    return tuple(token["content"] for token in added)


_Ids = tuple[tuple[int, int], ...]


def _around(said: Mapping[str, Any] | None, path: Path) -> tuple[_Ids, int, _Ids]:
    """(id, type id) before a sentence, its own type id, and those after it."""
    if said is None:
        return (), 0, ()
    if said["type"] == "BertProcessing":
        return ((said["cls"][1], 0),), 0, ((said["sep"][1], 0),)
    _check_kind("post_processor", said, ("TemplateProcessing", "BertProcessing"), path)
    parts: list[list[tuple[int, int]]] = [[]]
    type_ids = []
    for item in said["single"]:
        if "Sequence" in item:
            parts.append([])
            type_ids.append(item["Sequence"]["type_id"])
        else:
            one = item["SpecialToken"]
            parts[-1] += [(index, one["type_id"]) for index in said["special_tokens"][one["id"]]["ids"]]
    if len(parts) != 2:
        raise _refused(path, "its template does not have one sentence")
    return tuple(parts[0]), type_ids[0], tuple(parts[1])


def private(index: int) -> str:
    """The character that stands for a special token while a text is split."""
    return chr(_PRIVATE + index)
