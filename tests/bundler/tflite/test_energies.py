"""The energies of the inputs of layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundler.tflite import energies as module
from bundler.tflite.energies import energies
from bundler.tflite.matrices import matrices
from tests.bundler.tflite.floats import float_file


class Layers(nn.Module):
    """Three fully connected layers; the last has too few weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(32, 64), nn.Linear(64, 96), nn.Linear(96, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.hidden(x)))

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.first(x))



class Table(nn.Module):
    """An embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 32)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return float_file(Layers(), {"x": np.zeros((3, 32), np.float32)}, tmp_path_factory.mktemp("layers"))


CALLS = [{"x": np.random.default_rng(seed).normal(size=(3, 32)).astype(np.float32)} for seed in range(4)]


def test_energy_is_the_sum_over_all_rows(file: bytes) -> None:
    found = {matrix.columns: energy for matrix, energy in energies(file, matrices(file), CALLS)}
    rows = np.concatenate([call["x"] for call in CALLS])
    with torch.no_grad():
        hidden = Layers().hidden(torch.from_numpy(rows)).numpy()
    assert set(found) == {32, 64}
    assert [found[columns].rows for columns in (32, 64)] == [12, 12]
    np.testing.assert_allclose(found[32].products, rows.T @ rows, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[64].products, hidden.T @ hidden, rtol=1e-4, atol=1e-4)


def test_several_passes_find_the_same(file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict(energies(file, matrices(file), CALLS))
    monkeypatch.setattr(module, "_MEMORY", 1)
    parts = dict(energies(file, matrices(file), CALLS))
    assert parts.keys() == whole.keys()
    assert all(np.allclose(parts[matrix].products, whole[matrix].products) for matrix in whole)


def test_wide_layers_and_embeddings_are_left_out(file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COLUMNS", 32)
    assert [matrix.columns for matrix, _ in energies(file, matrices(file), CALLS)] == [32]
    call = {"ids": np.zeros(2, np.int64)}
    table = float_file(Table(), call, tmp_path)
    assert matrices(table)
    assert not list(energies(table, matrices(table), [call]))
