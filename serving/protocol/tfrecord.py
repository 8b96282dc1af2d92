"""Read TFRecord files without TensorFlow (tensorflow/core/lib/io/record_reader.cc).

A record is its length (8 bytes), a checksum of the length, the data, and a checksum of the data. The last one is not checked:
the data has to parse as a message anyway, and a file that was cut or shifted has wrong lengths.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from serving.errors import GoldenError

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of each record of a file.

    Raises:
        GoldenError: the file cannot be read, is not a TFRecord file, or is incomplete.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise GoldenError(f"{path} cannot be read: {exc.strerror}.", fix="give the path of a TFRecord file") from exc
    at = 0
    while at < len(content):
        header = content[at : at + 12]
        if len(header) < 12 or _masked_crc32c(header[:8]) != struct.unpack("<I", header[8:])[0]:
            fix = "give another file, or record the requests again"
            raise GoldenError(f"{path} is not a TFRecord file, or is damaged at byte {at}.", fix=fix)
        (length,) = struct.unpack("<Q", header[:8])
        data = content[at + 12 : at + 12 + length]
        if len(data) < length or len(content) < at + 16 + length:
            raise GoldenError(f"{path} ends within the record at byte {at}.", fix="copy the whole file again")
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
