"""What is opened in a bundle that anybody may have made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bundler.bundle.files import leads_out, link_on, open_regular, own_file
from bundler.errors import VerifyError


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="a FIFO and not a file"):
        open_regular(tmp_path / "fifo")
    with pytest.raises(OSError, match="a character device and not a file"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OSError):
            open_regular(tmp_path / "s")


def test_links_are_followed_only_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"a"
    with pytest.raises(OSError):
        open_regular(tmp_path / "link", follow=False)


def test_links_on_a_path_are_found(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    (root / "a" / "b").mkdir(parents=True)
    (root / "inner").symlink_to("a")
    (root / "a" / "outer").symlink_to("../..")
    (root / "circle").symlink_to("circle")
    assert [link_on(root, path) for path in ("a/b", "inner/b", "a/outer/x")] == [None, "inner", "a/outer"]
    assert [leads_out(root, path) for path in ("a/b", "inner/b", "a/outer/x")] == [False, False, True]
    assert link_on(root, "circle/x") == "circle"


def test_own_files_are_in_the_bundle(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    root.mkdir()
    (tmp_path / "secret").write_text("s")
    (root / "out").symlink_to("../secret")
    (root / "file").write_text("f")
    os.mkfifo(root / "fifo")
    assert own_file(root, root / "file") == root / "file"
    assert own_file(root, root / "missing") == root / "missing"
    with pytest.raises(VerifyError, match="leads out of the bundle through the symbolic link 'out'"):
        own_file(root, root / "out")
    with pytest.raises(VerifyError, match="a FIFO and not a file"):
        own_file(root, root / "fifo")
