"""Read TFRecord files without TensorFlow (tensorflow/core/lib/io/record_reader.cc).

A record is its length (8 bytes), a checksum of the length, the data, and a checksum of the data. The last one is not checked:
the data has to parse as a message anyway, and a file that was cut or shifted has wrong lengths.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from serving.errors import GoldenError

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_MAX_RECORD = 2**31 - 1
"""Most bytes of a record: those of a protobuf message."""


def read_records(path: Path, end: int | None = None) -> Iterator[bytes]:
    """Yield the data of each record of a file.

    Args:
        path: the file.
        end: records that begin at or behind this byte are not read; None for the file's size when it is opened. A server may
            still append to it.

    Raises:
        GoldenError: the file cannot be read, is not a TFRecord file, or is incomplete.
    """
    fix = "give the path of a TFRecord file"
    try:
        if path.exists() and not path.is_file():
            raise GoldenError(f"{path} is not a regular file.", fix=fix, code="TFB7202")  # a FIFO would never end
        with path.open("rb") as file:
            yield from _records(path, file, end)
    except OSError as exc:
        raise GoldenError(f"{path} cannot be read: {exc.strerror}.", fix=fix, code="TFB7202") from exc
    except ValueError as exc:  # a path with NUL
        raise GoldenError(f"{str(path)!r} cannot be read: {exc}.", fix=fix, code="TFB7202") from exc


def _records(path: Path, file: BinaryIO, end: int | None) -> Iterator[bytes]:
    at, size = 0, os.fstat(file.fileno()).st_size
    end = size if end is None else end
    while at < end and (header := file.read(12)):
        if len(header) < 12 or _masked_crc32c(header[:8]) != struct.unpack("<I", header[8:])[0]:
            fix = "give another file, or record the requests again"
            raise GoldenError(f"{path} is not a TFRecord file, or is damaged at byte {at}.", fix=fix, code="TFB7202")
        (length,) = struct.unpack("<Q", header[:8])
        if at + 16 + length > size:
            size = os.fstat(file.fileno()).st_size  # the last record may have been completed since the file was opened
        # The length is compared with the file before that much memory is allocated.
        data = file.read(length) if length <= min(size - at - 16, _MAX_RECORD) else b""
        if len(data) < length or len(file.read(4)) < 4:
            what = f"{path} ends within the record at byte {at}"
            if length <= size:
                raise GoldenError(f"{what}.", fix="copy the whole file again", code="TFB7202")
            raise GoldenError(f"{what}, which claims {length} bytes.", fix="copy the whole file again", code="TFB7202")
        yield data
        at += 16 + length


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
