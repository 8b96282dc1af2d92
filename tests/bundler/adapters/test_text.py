"""Signatures that take text: tokens compared with the package tokenizers, and MiniLM over gRPC and REST."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

import bundler
from bundler.adapters.text import TextAdapter
from bundler.adapters.tokenizer_file import read_tokenizer
from bundler.adapters.wordpiece import WordPieceGraph
from bundler.demo.sentences import model_folder
from bundler.errors import UsageError
from bundler.spec.signature_spec import TextSpec
from bundler.validation.bundle import Bundle
from bundler.values.signature import TensorSpec
from serving import Client
from tests.bundler.adapters.networks import clients, passed_requests, saved_model, smoke

TOKENIZER = str(model_folder() / "tokenizer.json")
WRITTEN = (
    "Hello, world! Tokenization is unaffable.", "", "   ", "Crème brûlée À LA CARTE", "你好世界 mixed 中文 text", "한국어 텍스트",
    "emoji 😀👍🏽 👩‍👩‍👧", "ctrl\x00\x01\x7f\u200b\u200d\ufeff tab\tnew\nline\r\x85\u2028", "x" * 100, "x" * 101, "a" * 400,
    "[MASK] is [CLS][SEP] [mask] [UNK]", "\U0010fff0 \U0010fffd [MA\U0010fff0SK]", "İstanbul ẞ ΑΣ", "\u0301\u0301 a\u0301\u0316b",
    "≠ ﬁ ǆ", "don't-stop_me (now) #1 @home 3.14€ 50%", "العربية עברית हिन्दी ไทย", "ὈΔΥΣΣΕΎΣ ΝΉΣΟΣ",
)  # fmt: skip


def texts() -> list[str]:
    """Return sentences, 3,000 random strings over all of Unicode, and every character between letters."""
    rng = random.Random(0)
    ranges = ((32, 127), (32, 127), (0xA0, 0x600), (0x600, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    drawn = ["".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(60))) for _ in range(3000)]
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    prose = [line for line in Path(tf.__file__).with_name("__init__.py").read_text("utf-8").splitlines() if line][:500]
    return [*WRITTEN, *prose, *drawn, *("a".join(characters[i : i + 256]) for i in range(0, len(characters), 256))]


@pytest.mark.sample(2)
@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
def test_tokens_match_the_library(lowercase: bool, tmp_path: Path) -> None:
    """Uncased is read from tokenizer.json; cased, whose normalizer keeps accents and case, from vocab.txt."""
    path = Path(TOKENIZER)
    if not lowercase:
        ids = Tokenizer.from_file(TOKENIZER).get_vocab()
        path = tmp_path / "vocab.txt"
        path.write_text("".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__)), "utf-8")
    tokenizer = read_tokenizer(TextSpec(tokenizer=str(path), lowercase=lowercase), tmp_path)
    graph = tf.function(WordPieceGraph(tokenizer).__call__, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    samples = texts()
    expected = [row.ids for row in tokenizer.tokenizer.encode_batch(samples, add_special_tokens=False)]
    parts = [[text.encode() for text in samples[i : i + 500]] for i in range(0, len(samples), 500)]
    got = [row for part in parts for row in graph(tf.constant(part)).to_list()]
    assert [ascii(t) for t, a, b in zip(samples, got, expected, strict=True) if a != b] == []
    assert len(samples) > 4000


IDS = (TensorSpec("input_ids", "int64", ("batch", "seq")), TensorSpec("attention_mask", "int32", ("batch", "seq")))


@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_rows_are_truncated_and_padded_as_declared(padding: Any) -> None:
    adapter = TextAdapter("s", IDS, TextSpec(tokenizer=TOKENIZER, max_length=7, padding=padding), Path())
    got = adapter({"text": tf.constant(["one", "one two three four five six seven"])})
    assert (got["input_ids"].dtype, got["attention_mask"].dtype) == (tf.int64, tf.int32)
    assert got["input_ids"].numpy().tolist() == [[101, 2028, 102, 0, 0, 0, 0], [101, 2028, 2048, 2093, 2176, 2274, 102]]
    assert got["attention_mask"].numpy().tolist() == [[1, 1, 1, 0, 0, 0, 0], [1] * 7]
    assert adapter({"text": tf.constant(["one"])})["input_ids"].shape == (1, 3 if padding == "longest" else 7)


def test_invalid_utf_8_is_accepted() -> None:
    adapter = TextAdapter("s", IDS, TextSpec(tokenizer=TOKENIZER), Path())
    assert adapter({"text": tf.constant([b"one\xff\xfe two"])})["input_ids"].numpy().tolist() == [[101, 2028, 2048, 102]]


class Bag(nn.Module):
    """Maps token ids and mask, [batch, seq], to the mean of the tokens' vectors, float32 [batch, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(30522, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        mask = attention_mask[..., None].to(torch.float32)
        return {"vector": (self.vectors(input_ids) * mask).sum(1) / mask.sum(1)}


def bag() -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = torch.randint(1000, 2000, (2, 6))
        return Bag().eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


INPUTS = ("input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    module, example = bag()
    signatures = {"text": {"text": {"tokenizer": TOKENIZER}}}
    out = tmp_path_factory.mktemp("bag") / "dist"
    return bundler.build(module, example, out, name="bag", inputs=INPUTS, signatures=signatures)


@pytest.fixture(scope="module")
def both_clients(bundle: Bundle) -> Iterator[tuple[Client, Client]]:
    with clients(bundle) as pair:
        yield pair


def test_sentences_get_pytorchs_vectors(both_clients: tuple[Client, Client]) -> None:
    sentences = list(WRITTEN[:8])
    tokenizer = Tokenizer.from_file(TOKENIZER)
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(sentences)
    with torch.no_grad():
        arguments = (torch.tensor([row.ids for row in rows]), torch.tensor([row.attention_mask for row in rows]))
        expected = bag()[0](*arguments)["vector"].numpy()
    for client in both_clients:
        got = client.predict("bag", {"text": np.array(sentences, object)}, signature="text")["vector"]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_the_vocabulary_is_an_asset_and_smoke_passes(bundle: Bundle) -> None:
    lines = (saved_model(bundle, "bag") / "assets" / "vocab.txt").read_text("utf-8").split("\n")
    assert (len(lines), lines[101]) == (30523, "[CLS]")
    assert {"gRPC predict", "REST predict"} <= passed_requests(smoke(bundle), "text")
    assert bundle.verify() == []


@pytest.mark.slow
def test_minilm_similarities_match_pytorch(tmp_path: Path) -> None:
    """The real encoder gives PyTorch's similarities, directly from text."""
    from bundler.demo.sentences import PAIRS, SENTENCES, make, similarities

    module, example = make()
    signatures = {"text": {"text": {"tokenizer": TOKENIZER}}}
    bundle = bundler.build(module, example, tmp_path / "d", name="minilm", inputs=INPUTS, signatures=signatures)
    with torch.no_grad():
        expected = similarities(module(**example)["embedding"].numpy())
    with clients(bundle) as pair:
        for client in pair:
            got = client.predict("minilm", {"text": np.array(SENTENCES, object)}, signature="text")["embedding"]
            assert similarities(got) == pytest.approx(expected, abs=1e-3)
            assert len(expected) == len(PAIRS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "its model is BPE; the graph supports WordPiece"),
        ({"normalizer": {"type": "NFC"}}, "its normalizer is NFC; the graph supports BertNormalizer"),
        ({"normalizer": None}, "its normalizer is none"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre_tokenizer is Whitespace"),
    ],
)
def test_unsupported_tokenizer_is_rejected(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = json.loads(Path(TOKENIZER).read_text("utf-8"))
    if "model" in change:
        settings |= {"added_tokens": [], "post_processor": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings | change), "utf-8")
    with pytest.raises(UsageError, match=message) as info:
        read_tokenizer(TextSpec(tokenizer="."), tmp_path)
    assert info.value.fix == "tokenize in the client, and send the ids to serving_default"


def test_file_that_is_not_a_tokenizer_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The tokenizer nowhere.json does not exist"):
        read_tokenizer(TextSpec(tokenizer="nowhere.json"), tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match=r"tokenizer.json is not a tokenizer"):
        read_tokenizer(TextSpec(tokenizer="tokenizer.json"), tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n", "utf-8")
    with pytest.raises(UsageError, match=r"vocab.txt has no token \[UNK\]"):
        read_tokenizer(TextSpec(tokenizer="vocab.txt"), tmp_path)


def test_error_names_an_input_that_the_model_lacks() -> None:
    with pytest.raises(UsageError, match="ids is 'input_ids', but the model has no such input"):
        TextAdapter("s", (TensorSpec("x", "int64", ("batch", "seq")),), TextSpec(tokenizer=TOKENIZER), Path())
    with pytest.raises(UsageError, match="types is 'segments', but the model has no such input"):
        TextAdapter("s", IDS, TextSpec(tokenizer=TOKENIZER, types="segments"), Path())
