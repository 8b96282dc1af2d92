from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.protocol.status import Code, StatusError
from serving.server.config.files import ConfigTextError, read_config

NOBODY = 65534


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Become another user within the block, as root may read any file."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


def test_unreadable_file_is_permission_denied(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list { }")
    file.chmod(0)
    with without_roots_rights(), pytest.raises(StatusError) as refused:
        read_config(str(file), "ModelServerConfig")
    assert (refused.value.code, refused.value.message) == (Code.PERMISSION_DENIED, f"{file}; Permission denied")


def test_comments_need_not_be_utf8(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_bytes(b"# grande taille mesur\xe9e\nmax_batch_size { value: 4 }")
    assert read_config(str(file), "BatchingParameters").max_batch_size.value == 4


@pytest.mark.parametrize("text", [b'server_key: "\xe9"', b'server_key: "\\351"', b"\xe9"])
def test_other_bytes_that_are_not_utf8_are_reported_in_printable_text(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "ssl.config"
    file.write_bytes(text)
    with pytest.raises(ConfigTextError) as wrong:
        read_config(str(file), "SSLConfig")
    assert wrong.value.message == f"Invalid protobuf file: '{file}'"
    assert wrong.value.detail.encode().startswith(b"1:")
