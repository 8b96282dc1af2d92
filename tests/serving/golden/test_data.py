"""Golden data survives its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.errors import GoldenError
from serving.golden.data import Golden, GoldenCase, batch_size, is_binary
from serving.protocol.tensors import array_dtype_name, bfloat16_to_float32


def golden() -> Golden:
    images = np.array([b"\xff\x00", b"\x89PNG"], np.object_)
    rows = GoldenCase("serving_default", "batch-2", {"image": images}, {"label": np.array(["ä", "b"])})
    bits = np.array([0x3F80, 0x4000], np.uint16)
    narrow = GoldenCase("narrow", "one", {"b": bits}, {"b2": bits})
    return Golden("m", 1e-4, (rows, narrow), ("narrow/one/in/b", "narrow/one/out/b2"))


def test_everything_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "1.npz"
    golden().save(path)
    read = Golden.load(path)
    assert (read.model, read.tolerance, read.signatures) == ("m", 1e-4, ("serving_default", "narrow"))
    rows, narrow = read.cases
    assert rows.inputs["image"].tolist() == [b"\xff\x00", b"\x89PNG"]
    assert rows.outputs["label"].tolist() == ["ä", "b"]
    assert (narrow.signature, narrow.name) == ("narrow", "one")
    for arrays in (read.inputs(narrow), read.outputs(narrow)):
        (array,) = arrays.values()
        assert array_dtype_name(array) == "bfloat16"
        assert bfloat16_to_float32(array).tolist() == [1.0, 2.0]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.npz"
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(1))
    with pytest.raises(GoldenError, match="has no __meta__"):
        Golden.load(path)
    with pytest.raises(GoldenError, match="No such file"):
        Golden.load(tmp_path / "none.npz")


def test_the_largest_batch_counts_first_dims() -> None:
    assert golden().largest_batch == 2
    assert batch_size({"x": np.zeros((3, 4)), "y": np.zeros(())}) == 3
    assert batch_size({"y": np.zeros(())}) == 1


def test_only_object_arrays_of_bytes_are_binary() -> None:
    assert is_binary(np.array([b"a"], np.object_))
    assert not is_binary(np.array(["a"], np.object_))
    assert not is_binary(np.array([b"a"]))


@pytest.mark.parametrize(
    "meta",
    ["5", "[]", "{}", '{"cases": 5}', '{"cases": [5]}', '{"cases": [{"signature": 1}]}', "[" * 5000, "\\ud800", "", "null",
     '{"cases": [], "model": "m", "tolerance": "x", "bfloat16": []}',
     '{"cases": [], "model": "m", "tolerance": 1, "bfloat16": 5}',
     '{"cases": [], "model": "m", "tolerance": 1, "bfloat16": [], "binary": 5}'],
)  # fmt: skip
def test_meta_of_another_form_is_a_clear_error(tmp_path: Path, meta: str) -> None:
    path = tmp_path / "1.npz"
    np.savez(path, __meta__=np.array(meta))
    with pytest.raises(GoldenError, match=r"1\.npz cannot be read") as caught:
        Golden.load(path)
    assert caught.value.fix
