"""Rotary embeddings of a decoder, whose caches have a batch of one."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.bundler.exporting import assert_same_answers, export_module, signature_text


@pytest.mark.slow
def test_a_decoder_with_rotary_embeddings_runs_at_every_batch_size(tmp_path: Path) -> None:
    from bundler.sources.torchvision_ops import import_torchvision

    import_torchvision()
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    config.use_cache = False
    names = ("input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]")
    (exported,) = export_module(transformers.LlamaForCausalLM(config), tmp_path, inputs=names)
    assert "RotaryEmbedding" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert signature_text(exported).endswith("logits=float32[batch,seq,50]")
    assert {"seq-8", "batch-5"} <= set(assert_same_answers(exported))
