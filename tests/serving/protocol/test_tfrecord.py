"""TFRecord files, as TensorFlow writes them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import tensorflow as tf

from serving.errors import GoldenError
from serving.protocol import tfrecord
from serving.protocol.tfrecord import read_records
from tests.serving.memory import assert_allocates_less_than

RECORDS = [b"", b"one", b"x" * 70_000]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_records_of_tensorflow_are_read(path: Path) -> None:
    assert list(read_records(path)) == RECORDS


def test_a_cut_or_shifted_file_is_an_error(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(GoldenError, match="ends within the record at byte 35"):
        list(read_records(path))
    path.write_bytes(content[1:])
    with pytest.raises(GoldenError, match="damaged at byte 0"):
        list(read_records(path))


def test_records_that_are_appended_while_the_file_is_read_are_left_out(path: Path) -> None:
    records = read_records(path)
    assert next(records) == b""
    with path.open("ab") as file:
        file.write(path.read_bytes())
    assert list(records) == RECORDS[1:]
    assert list(read_records(path, 17)) == RECORDS[:2]


def test_last_record_may_be_completed_after_the_file_is_opened(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    records = read_records(path)
    assert next(records) == b""
    with path.open("ab") as file:
        file.write(content[-1000:])
    assert list(records) == RECORDS[1:]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="cannot be read: No such file"):
        list(read_records(tmp_path / "none"))


def test_a_length_that_lies_is_an_error_before_it_is_allocated(path: Path) -> None:
    content = path.read_bytes()
    for length in (2**63, 2**31, 200_000):
        header = struct.pack("<Q", length)
        path.write_bytes(content + header + struct.pack("<I", tfrecord._masked_crc32c(header)) + b"abc")
        claim = f"at byte {len(content)}, which claims {length} bytes"
        with assert_allocates_less_than(1_000_000), pytest.raises(GoldenError, match=claim):
            list(read_records(path))


def test_records_are_read_one_by_one(path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(20):
            writer.write(bytes(1_000_000))
    with assert_allocates_less_than(4_000_000):
        assert sum(len(record) for record in read_records(path)) == 20_000_000


def test_every_cut_is_an_error_or_ends_between_records(path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS[:2]:
            writer.write(record)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        if size in (0, 16):
            assert len(list(read_records(path))) == size // 16
        else:
            with pytest.raises(GoldenError, match="at byte"):
                list(read_records(path))


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for other in (tmp_path, tmp_path / "fifo", Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(GoldenError):
            list(read_records(other))
