"""What is opened in a bundle that anybody may have made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.bundle.files import leads_out, link_on, own_file
from bundler.errors import VerifyError


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
