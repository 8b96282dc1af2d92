"""The matrices of a float file, and the file with quantized ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundler.errors import TfliteError
from bundler.tflite import matrices as module
from bundler.tflite.blocks import to_int4, to_int8
from bundler.tflite.contents import operators_of
from bundler.tflite.delegates import chosen, readiness
from bundler.tflite.inspection import read_contents
from bundler.tflite.matrices import Matrix, matrices, with_matrices
from bundler.tflite.runner import TfliteModel
from bundler.values.arrays import Array
from tests.bundler.tflite.floats import float_file
from tests.bundler.tflite.test_blocks import unpacked


class Words(nn.Module):
    """Embeddings of three widths, one in blocks of 32, and two layers; the last has too few weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.odd = nn.Embedding(50, 64), nn.Embedding(50, 24)
        self.wide, self.narrow = nn.Linear(88, 96), nn.Linear(64, 96)
        self.last = nn.Linear(96, 3)

    def forward(self, ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        words = torch.cat([self.word(ids), self.odd(ids)], -1)
        return self.last(torch.relu(self.wide(words)) + self.narrow(self.word(position)))


CALL = {"ids": np.arange(12, dtype=np.int64).reshape(2, 6), "position": np.arange(6, dtype=np.int64)}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return float_file(Words(), CALL, tmp_path_factory.mktemp("words"))


def run(file: bytes, folder: Path) -> Array:
    path = folder / "m.tflite"
    path.write_bytes(file)
    (output,) = TfliteModel(path).run_in_floats(CALL).values()
    return output


def shapes(found: tuple[Matrix, ...]) -> dict[tuple[int, ...], str]:
    return {matrix.values.shape: matrix.operator for matrix in found}


def test_embeddings_and_large_layers_are_found(words: bytes) -> None:
    found = matrices(words)
    assert shapes(found) == {
        (50, 64): "GATHER", (50, 24): "GATHER", (96, 88): "FULLY_CONNECTED", (96, 64): "FULLY_CONNECTED",
    }  # fmt: skip
    assert [matrix.has_blocks for matrix in found if matrix.values.shape == (96, 88)] == [False]


def test_file_computes_with_the_weights_that_the_integers_stand_for(words: bytes, tmp_path: Path) -> None:
    forms = {matrix: (to_int4 if matrix.has_blocks else to_int8)(matrix.values) for matrix in matrices(words)}
    file = with_matrices(words, forms)
    types = {each.types for each in operators_of(file) if each.name in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP")}
    assert {"FLOAT32,INT4***>FLOAT32", "FLOAT32,INT8**>FLOAT32", "INT32,INT4***>FLOAT32", "INT32,INT8**>FLOAT32"} <= types

    rounded = Words()
    parameters = {tuple(parameter.shape): parameter for parameter in rounded.parameters()}
    for matrix, form in forms.items():
        exact = unpacked(form) if matrix.has_blocks else form.data * form.scales[:, None]
        parameters[matrix.values.shape].data = torch.from_numpy(exact.astype(np.float32))
    with torch.no_grad():
        want = rounded(*map(torch.from_numpy, CALL.values())).numpy()
    # XNNPACK rounds the inputs of the layers to 8 bits.
    np.testing.assert_allclose(run(file, tmp_path), want, atol=0.02 * np.abs(want).max())
    assert len(file) < len(words) / 2


def test_matrices_that_are_not_named_stay_float(words: bytes, tmp_path: Path) -> None:
    first = next(matrix for matrix in matrices(words) if matrix.operator == "FULLY_CONNECTED")
    file = with_matrices(words, {first: to_int8(first.values)})
    assert [each.types for each in operators_of(file) if "INT8**" in each.types] == ["FLOAT32,INT8**>FLOAT32"]
    assert sum(each.name == "GATHER" for each in operators_of(file)) == 3
    np.testing.assert_allclose(run(file, tmp_path), run(words, tmp_path), atol=0.05)


class Tied(nn.Module):
    """A table that is both an embedding and the weights of the last layer, as in language models, and one that is also added."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.added = nn.Embedding(40, 64), nn.Parameter(torch.randn(40, 64))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = nn.functional.embedding(ids, self.added) + self.added[:4]
        return nn.functional.linear(self.table(ids) + rows, self.table.weight)


def test_shared_table_is_stored_once_and_one_with_other_readers_stays_float(tmp_path: Path) -> None:
    file = float_file(Tied(), {"ids": np.arange(4, dtype=np.int64)}, tmp_path)
    found = matrices(file)
    assert all(matrix.values.shape == (40, 64) for matrix in found)
    quantized = with_matrices(file, {matrix: to_int4(matrix.values) for matrix in found})
    names = [each.name for each in operators_of(quantized) if "INT4***" in each.types]
    assert sorted(names)[-1] == "FULLY_CONNECTED"
    assert "EMBEDDING_LOOKUP" in names


def test_file_over_2_gib_is_refused(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(words, 0)
    tree.buffers[1].offset = 4_000_000_000
    monkeypatch.setattr(schema.ModelT, "InitFromPackedBuf", lambda *_: tree)
    with pytest.raises(TfliteError, match="over 2 GiB"):
        module.matrices(words)


def test_inspection_counts_int4_weights_and_gpus_do_not_take_them(words: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(with_matrices(words, {matrix: to_int4(matrix.values) for matrix in matrices(words) if matrix.has_blocks}))
    assert read_contents(path).weights["int4"] == (50 * 64 + 96 * 64) // 2
    (gpu,) = readiness(path.read_bytes(), chosen(["gpu"]))
    assert "the delegate does not take INT4 here" in {each.why for each in gpu.fallen if each.op == "FULLY_CONNECTED"}
