"""TFRecord files, as TensorFlow writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from serving.errors import GoldenError
from serving.protocol.tfrecord import read_records

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


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="cannot be read: No such file"):
        list(read_records(tmp_path / "none"))
