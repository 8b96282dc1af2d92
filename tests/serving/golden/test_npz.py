"""Archives of arrays: honest ones are read as NumPy reads them, others are refused before they cost memory."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import GoldenError
from serving.golden import npz
from serving.golden.npz import read_npz
from tests.serving.memory import assert_allocates_less_than

ARRAYS: dict[str, Any] = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3), "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "text": np.array(["ä", "bc"]), "empty": np.zeros((0, 4)), "scalar": np.array(5), "big": np.arange(3, dtype=">i8"),
    "bool": np.array([True]), "half": np.zeros(2, np.float16), "complex": np.ones(2, np.complex128),
}  # fmt: skip


def header(shape: str, descr: str = "<f4", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def archive(path: Path, member: bytes, name: str = "x.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, member)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    got = read_npz(path)
    assert list(got) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got[name], array)
        assert got[name].flags.writeable


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (header("(3000000000,)") + bytes(4), "does not have 4 bytes"),
        (header("(4611686018427387904, 4)") + bytes(16), "does not have 16 bytes"),
        (header("(-1,)") + bytes(4), "does not have 4 bytes"),
        (header("(10000000000,)", "<U0"), "does not have 0 bytes"),
        (header("(1,)", "|O") + b"cos\nsystem\n(S'true'\ntR.", "pickled"),
        (header("5"), "shape"),
        (header("(1,)", "no dtype"), "descr"),
        (header("(1,)", version=b"\x03\x00"), "version"),
        (header("(" + "1," * 3000 + ")"), "does not have 0 bytes"),
        (b"", "magic"),
        (b"no array", "magic"),
    ],
)
def test_a_member_that_lies_is_refused_before_it_is_allocated(tmp_path: Path, member: bytes, match: str) -> None:
    path = archive(tmp_path / "a.npz", member)
    with assert_allocates_less_than(2**23), pytest.raises(GoldenError, match=match) as caught:
        read_npz(path)
    assert caught.value.fix
    assert caught.value.where == str(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", header("(5000000,)") + bytes(20_000_000))
    assert path.stat().st_size < 50_000
    assert read_npz(path)["x"].size == 5_000_000
    with assert_allocates_less_than(2**20), pytest.raises(GoldenError, match="the limits are"):
        read_npz(path, 10_000_000)


def test_a_bomb_whose_entry_lies_unpacks_no_more_than_it_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", bytes(20_000_000))
    data = path.read_bytes()
    path.write_bytes(data.replace((20_000_000).to_bytes(4, "little"), (2_000).to_bytes(4, "little")))
    with assert_allocates_less_than(2**20), pytest.raises(GoldenError, match="cannot be read"):
        read_npz(path)


def test_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_MEMBERS", 2)
    path = tmp_path / "a.npz"
    np.savez(path, **ARRAYS)
    with pytest.raises(GoldenError, match="the limits are 2 "):
        read_npz(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "none", tmp_path / "fifo", Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(GoldenError, match="cannot be read"):
            read_npz(path)


def test_every_damaged_byte_is_an_array_or_a_clear_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.arange(20, dtype=np.int16))
    data, path = file.getvalue(), tmp_path / "a.npz"
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            read_npz(path)
        except GoldenError as exc:
            assert exc.fix
