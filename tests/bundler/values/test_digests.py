"""Hashes of data depend on names, dtypes, shapes and values, and on nothing else."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bundler.values.digests import ArraysDigest, arrays_sha256, file_sha256, files_sha256
from tests.requirements import require_program


def test_hash_of_arrays_does_not_depend_on_their_layout_in_memory() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert arrays_sha256([{"x": array, "y": array}]) == arrays_sha256([{"y": array.copy(), "x": np.asfortranarray(array)}])
    assert arrays_sha256([{"x": array[:, ::2]}]) == arrays_sha256([{"x": array[:, ::2].copy()}])


@pytest.mark.parametrize(
    "other",
    [
        {"z": np.zeros((2, 2), np.float32)},
        {"x": np.zeros((2, 2), np.int32)},
        {"x": np.zeros((4,), np.float32)},
        {"x": np.ones((2, 2), np.float32)},
    ],
)
def test_hash_of_arrays_tells_names_dtypes_shapes_and_values_apart(other: dict[str, np.ndarray]) -> None:
    assert arrays_sha256([other]) != arrays_sha256([{"x": np.zeros((2, 2), np.float32)}])


def test_texts_and_empty_arrays_have_a_hash() -> None:
    texts = np.array([["one", "two"]], dtype=object)
    assert arrays_sha256([{"x": texts}]) == arrays_sha256([{"x": texts.copy()}])
    assert arrays_sha256([{"x": np.zeros((0, 3), np.int8)}]) != arrays_sha256([])


def test_calls_are_counted() -> None:
    digest = ArraysDigest()
    digest.add({"x": np.int64(1) * np.ones(1, np.int64)})
    digest.add({"x": np.ones(1, np.int64)})
    assert digest.calls == 2


def test_hash_of_files_is_that_of_the_list_by_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = [tmp_path / "b" / "2.npz", tmp_path / "a.npz"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 10)
    assert file_sha256(paths[0]) == hashlib.sha256(bytes(10)).hexdigest()
    program = require_program("sha256sum", install="apt-get install coreutils")
    listed = subprocess.run([program, "a.npz", "b/2.npz"], cwd=tmp_path, capture_output=True, timeout=20).stdout
    assert files_sha256(paths, tmp_path) == hashlib.sha256(listed).hexdigest()
