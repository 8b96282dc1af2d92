"""The vocabulary for MediaPipe's text tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from bundler.errors import UsageError
from bundler.mobile.metadata import Tensors, model_metadata
from bundler.mobile.vocabulary import Vocabulary, input_roles, read_vocabulary
from bundler.tflite import metadata_schema
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import image_model

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b")
NAMES = ("attention_mask", "input_ids", "token_type_ids")


def inputs(*names: str, text: str = "int32[1,8]") -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.parse(f"{name}={text}") for name in names or NAMES)


def vocabulary_file(folder: Path, *tokens: str) -> str:
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in tokens or TOKENS), "utf-8")
    return str(path)


def test_each_input_gets_the_role_that_its_name_says(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(vocabulary_file(tmp_path), inputs())
    assert vocabulary.roles == {"attention_mask": "mask", "input_ids": "ids", "token_type_ids": "segment_ids"}
    assert vocabulary.content == b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n"


@pytest.mark.parametrize(
    "specs",
    [
        inputs("input_ids", "attention_mask"), inputs("input_ids", "attention_mask", "position_ids"),
        inputs(text="int64[1,8]"), inputs(text="int32[2,8]"),
        (*inputs("input_ids", "mask"), *inputs("segment_ids", text="int32[1,9]")),
    ],
)  # fmt: skip
def test_other_inputs_are_refused(specs: tuple[TensorSpec, ...], tmp_path: Path) -> None:
    assert input_roles(specs) is None
    with pytest.raises(UsageError, match="MediaPipe's text tasks need token ids"):
        read_vocabulary(vocabulary_file(tmp_path), specs)


def tokenizer_file(folder: Path, **changes: Any) -> str:
    tokens = changes.get("tokens", TOKENS)
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: index for index, token in enumerate(tokens)}, unk_token="[UNK]",
            continuing_subword_prefix=changes.get("prefix", "##"),
        )
    )  # fmt: skip
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=changes.get("lowercase", True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = {token: index for index, token in enumerate(tokens)}
    after = changes.get("after", "[SEP]")
    tokenizer.post_processor = processors.BertProcessing((after, ids[after]), ("[CLS]", ids["[CLS]"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"lowercase": False}, "it distinguishes upper and lower case"),
        ({"tokens": (*TOKENS, "Ab")}, "its token 'Ab' has an upper-case letter"),
        ({"prefix": "@@"}, "pieces begin with '@@'"),
        ({"after": "[UNK]"}, "it puts other tokens around a sentence"),
        ({"tokens": (*TOKENS[1:], "[PAD]")}, "its padding is 5"),
    ],
)
def test_tokenizers_that_mediapipe_cannot_repeat_are_refused(changes: dict[str, Any], difference: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MediaPipe's tokenizer would answer differently") as caught:
        read_vocabulary(tokenizer_file(tmp_path, **changes), inputs())
    assert difference in caught.value.what


def test_a_tokenizer_of_the_same_kind_is_read(tmp_path: Path) -> None:
    assert read_vocabulary(tokenizer_file(tmp_path), inputs()).lines == TOKENS


def test_metadata_name_the_inputs_as_mediapipe_does() -> None:
    model = image_model("ids=int32[1,8]")
    vocabulary = Vocabulary(TOKENS, {"ids": "ids"}, "m-vocab.txt")
    metadata = model_metadata(model, model.variants[0], None, Tensors(("ids",), ("scores",)), vocabulary)
    read = metadata_schema.read(metadata_schema.write(metadata))
    (graph,) = read["subgraph_metadata"]
    (unit,) = graph["input_process_units"]
    assert [each["name"] for each in graph["input_tensor_metadata"]] == ["ids"]
    (file,) = unit["options"]["BertTokenizerOptions"]["vocab_file"]
    assert (file["name"], file["type"], read["min_parser_version"]) == ("m-vocab.txt", 5, "1.2.1")


WORDS = ("<PAD> 0", "<UNKNOWN> 1", "good 2")


def test_a_model_of_word_ids_takes_words_with_their_ids(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(vocabulary_file(tmp_path, *WORDS), inputs("words"))
    assert vocabulary.lines == WORDS and not vocabulary.roles
    model = image_model("words=int32[1,8]")
    metadata = model_metadata(model, model.variants[0], None, Tensors(("words",), ("scores",)), vocabulary)
    (table,) = metadata_schema.read(metadata_schema.write(metadata))["subgraph_metadata"][0]["input_tensor_metadata"]
    (unit,) = table["process_units"]
    assert unit["options"]["RegexTokenizerOptions"]["delim_regex_pattern"] == r"[^\w']+" and table["name"] == "words"


@pytest.mark.parametrize(("lines", "reason"), [(("<PAD> 0", "good"), "has the line 'good'"), (("<PAD> 0",), "has no <UNKNOWN>")])
def test_lines_of_another_form_are_refused(lines: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        read_vocabulary(vocabulary_file(tmp_path, *lines), inputs("words"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_vocabulary(str(tmp_path / "absent.txt"), inputs("words"))
