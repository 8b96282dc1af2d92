"""Read .npz files within a limit: an archive of a few kilobytes can claim, and unpack to, any number of bytes.

NumPy allocates an array from its header before it reads a value. Here a header must fit what its member holds, and all members
together are bounded before anything is unpacked, and no member is unpacked beyond what its entry says. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import os
import reprlib
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from serving.errors import GoldenError

MAX_BYTES = 2**31
"""Most bytes that the arrays of one file may have together."""

MAX_MEMBERS = 100_000

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, RuntimeError, BadZipFile, zlib.error)
"""What zipfile and NumPy raise for damaged files (RuntimeError: encrypted or an unknown method of compression)."""


def read_npz(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an .npz file by name.

    Args:
        path: the file.
        max_bytes: most bytes that the arrays may have together.

    Raises:
        GoldenError: the file cannot be read, is damaged, or has more bytes.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")  # a FIFO would never end
        with path.open("rb") as file, ZipFile(file) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if sum(member.compress_size for member in members) > os.fstat(file.fileno()).st_size:
                raise ValueError("its entries have more bytes than the file")
            if total > max_bytes or len(members) > MAX_MEMBERS:
                raise ValueError(f"its {len(members)} arrays have {total} bytes; the limits are {MAX_MEMBERS} and {max_bytes}")
            return {member.filename.removesuffix(".npy"): _array(_content(archive, member)) for member in members}
    except _DAMAGED as exc:
        raise unreadable(path, exc) from exc


def _content(archive: ZipFile, member: ZipInfo) -> bytes:
    # `archive.read` unpacks all that there is before it compares it with the entry.
    with archive.open(member) as file:
        return file.read(member.file_size)


def unreadable(path: Path, reason: object) -> GoldenError:
    """Return the error of a file that cannot be read."""
    text = (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__
    fix = "build the model again; `tfbundle verify DIR` shows what else is damaged"
    return GoldenError(
        f"The golden data {path.name} cannot be read: {text.rstrip('.')}.", where=str(path), fix=fix, code="TFB7201"
    )


def _array(data: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the .npy format is not supported")
    shape, in_fortran_order, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which could run any code")
    start, count = file.tell(), math.prod(shape)
    size = len(data) - start
    if any(length < 0 for length in shape) or count * dtype.itemsize != size or (not dtype.itemsize and count):
        raise ValueError(f"an array of shape {reprlib.repr(shape)} and dtype {dtype} does not have {size} bytes")
    flat = np.frombuffer(data, dtype, count, start).copy() if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if in_fortran_order else "C")
