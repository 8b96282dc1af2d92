"""Files in the place of a config file: only regular ones are read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from serving.regular_file import NotRegularError, open_regular, read_regular, special_files


def test_regular_files_and_links_to_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file") == read_regular(str(tmp_path / "link")) == b"abc"
    assert read_regular(tmp_path / "file", 3) == b"abc"


def test_other_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for path, what in (("fifo", "a FIFO"), ("link", "a FIFO"), ("/dev/zero", "a device"), ("/dev/tty0", "a device")):
        if Path(tmp_path, path).exists():
            with pytest.raises(NotRegularError, match=f"it is {what}, not a regular file"):
                read_regular(tmp_path / path)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


def test_links_are_followed_only_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"a"
    with pytest.raises(OSError):
        open_regular(tmp_path / "link", follow=False)


def test_file_above_the_limit_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    with pytest.raises(NotRegularError, match="it has more than 1000 bytes"):
        read_regular(tmp_path / "sparse", 1000)


def test_special_files_are_found_at_any_depth_and_behind_links(tmp_path: Path) -> None:
    folder, outside = tmp_path / "version", tmp_path / "outside"
    (folder / "variables").mkdir(parents=True)
    outside.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    (folder / "loop").symlink_to(folder)
    (folder / "gone").symlink_to("nothing")
    assert list(special_files(folder)) == []
    os.mkfifo(folder / "variables" / "variables.index")
    os.mkfifo(outside / "fifo")
    (folder / "assets").symlink_to(outside)
    (folder / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        found = {path.relative_to(folder).as_posix() for path, _ in special_files(folder)}
    assert {"variables/variables.index", "assets/fifo", "zero", "socket"} <= found
