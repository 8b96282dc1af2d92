"""`hf:` sources, tested offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundler.errors import SourceError
from bundler.sources import huggingface
from bundler.sources.torchvision_ops import import_torchvision
from tests.bundler.sources.conftest import Load
from tests.models import minilm_folder


def tiny(name: str, folder: Path) -> Path:
    """Write a transformers checkpoint with a tiny random model."""
    import_torchvision()
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = {
        "text": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=60, **sizes)),
        "image": lambda: transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **sizes)),
        "decoder": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(vocab_size=60, num_key_value_heads=1, max_position_embeddings=64, **sizes)
        ),
        "sound": lambda: transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(
                conv_dim=(8,), conv_stride=(4,), conv_kernel=(8,), num_feat_extract_layers=1, **sizes
            )
        ),
    }[name]()
    model.save_pretrained(folder / name)
    return folder / name


def test_text_with_a_tokenizer(load_source: Load) -> None:
    loaded = load_source(f"hf:{minilm_folder()}")
    assert [str(spec) for spec in loaded.input_specs] == [
        f"{name}=int64[batch,seq]" for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    ids, mask = loaded.example_inputs["input_ids"], loaded.example_inputs["attention_mask"]
    assert ids.shape[0] == 2 and ids[0, 0] == 101  # [CLS] of BERT's vocabulary
    assert 0 < mask[0].sum() < mask[1].sum() == mask.shape[1]
    assert loaded.provenance["class"] == "BertModel" and loaded.provenance["weights"] == "pretrained"


@pytest.mark.slow
def test_text_without_a_tokenizer_keeps_its_head(load_source: Load, folder: Path) -> None:
    loaded = load_source(f"hf:{tiny('text', folder)}")
    assert [spec.name for spec in loaded.input_specs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert loaded.provenance["class"] == "BertForSequenceClassification"
    assert loaded.example_inputs["input_ids"].max() > 1
    np.testing.assert_array_equal(np.unique(loaded.example_inputs["attention_mask"]), [1])


@pytest.mark.slow
def test_images_and_random_weights(load_source: Load, folder: Path) -> None:
    loaded = load_source(f"hf:{tiny('image', folder)}", pretrained=False)
    assert str(loaded.input_specs[0]) == "pixel_values=float32[batch,3,16,16]"
    assert loaded.provenance["weights"] == "random"


def test_decoders_return_only_tensors(load_source: Load, folder: Path) -> None:
    loaded = load_source(f"hf:{tiny('decoder', folder)}")
    assert isinstance(loaded.module, torch.nn.Module)
    assert loaded.module.config.use_cache is False


def test_error_for_inputs_without_dims_in_the_config(load_source: Load, folder: Path) -> None:
    source = f"hf:{tiny('sound', folder)}"
    with pytest.raises(SourceError, match="takes input_values") as caught:
        load_source(source)
    assert caught.value.fix is not None and "--input 'input_values=" in caught.value.fix
    assert load_source(source, inputs=("input_values=float32[batch,400]",)).input_specs[0].dims == ("batch", 400)


@pytest.mark.parametrize("source", ["hf:./nowhere", "hf:/no/such/folder", "hf:a/b/c"])
def test_missing_folder_is_an_error(load_source: Load, source: str) -> None:
    with pytest.raises(SourceError, match=r"The folder .* does not exist"):
        load_source(source)


def test_folder_that_is_not_a_checkpoint_is_an_error(load_source: Load, folder: Path) -> None:
    with pytest.raises(SourceError, match="is not a transformers checkpoint"):
        load_source(f"hf:{folder}")


def test_unsupported_model_type_is_an_error(load_source: Load, folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(SourceError, match="does not support"):
        load_source(f"hf:{folder}")


def test_error_without_a_network_names_the_alternatives(
    load_source: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = huggingface._import_transformers()

    def unreachable(name: str, **settings: Any) -> Any:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(SourceError, match="cannot be downloaded") as caught:
        load_source("hf:bert-base-uncased")
    assert caught.value.fix is not None and "--weights" in caught.value.fix
