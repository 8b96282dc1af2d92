"""Weights moved to files: the memory is freed, and the module computes as before."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bundler.export.offloaded import offload_weights


def test_large_weights_move_and_the_outputs_stay_the_same(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(600, 600), nn.Linear(600, 3))
    x = torch.randn(2, 600)
    before = module(x)
    large, small = module[0].weight.data_ptr(), module[1].weight.data_ptr()
    offload_weights(module, tmp_path)
    assert module[0].weight.data_ptr() != large
    assert module[1].weight.data_ptr() == small, "a small weight stays in memory"
    assert list(tmp_path.iterdir()) == [], "the file has lost its name"
    torch.testing.assert_close(module(x), before, rtol=0, atol=0)


def test_weights_that_share_their_memory_stay_shared(tmp_path: Path) -> None:
    first, second = nn.Linear(600, 600), nn.Linear(600, 600)
    second.weight.data = first.weight.data
    offload_weights(nn.Sequential(first, second), tmp_path)
    assert first.weight.data_ptr() == second.weight.data_ptr()


def test_an_offloaded_weight_can_be_changed(tmp_path: Path) -> None:
    module = nn.Linear(600, 600)
    offload_weights(module, tmp_path)
    with torch.no_grad():
        module.weight.zero_()
    assert not module.weight.any()
