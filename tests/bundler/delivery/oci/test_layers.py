from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry
from bundler.delivery.oci.layers import LAYER, Layer, PackedFile, folders_below, read_file
from bundler.errors import VerifyError

TITLE = "models/digits/1"
LONG = f"{TITLE}/assets/{'ä' * 60}/{'x' * 100}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, data in {
        "saved_model.pb": os.urandom(300_000), "variables/empty": b"", "variables/even": bytes(512), LONG[len(TITLE) + 1 :]: b"x",
    }.items():  # fmt: skip
        path = tmp_path / TITLE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / TITLE / "assets.extra").mkdir()
    return tmp_path


def layer(root: Path) -> Layer:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    files = [PackedFile(name, FileEntry.of(root / name)) for name in names]
    return Layer(root, TITLE, files, folders_below(root, TITLE))


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_layer_is_a_tar_file_in_a_gzip_stream_with_the_digests_that_it_announces(root: Path) -> None:
    made = layer(root)
    sealed = made.seal()
    data = b"".join(made.chunks(sealed))
    assert (sealed.descriptor.media_type, sealed.descriptor.digest, sealed.descriptor.size) == (LAYER, sha(data), len(data))
    assert sealed.descriptor.annotations == {"org.opencontainers.image.title": TITLE}
    tar = gzip.decompress(data)
    assert sealed.diff_id == sha(tar)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        members = opened.getmembers()
        for each in members:
            facts = (each.mtime, each.uid, each.gid, each.uname, each.gname, oct(each.mode))
            assert facts == (0, 0, 0, "", "", "0o755" if each.isdir() else "0o644")
            if each.isfile():
                content = opened.extractfile(each)
                assert content is not None and content.read() == (root / each.name).read_bytes()
    names = [each.name for each in members]
    assert names == sorted(names) and names[0] == TITLE and LONG in names and f"{TITLE}/assets.extra" in names


def test_layer_does_not_depend_on_times_owners_or_order(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = layer(root).seal()
    other = tmp_path_factory.mktemp("other")
    for name in sorted((path.relative_to(root).as_posix() for path in root.rglob("*")), reverse=True):
        target = other / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes((root / name).read_bytes())
            target.chmod(0o600)
            os.utime(target, (1, 1))
    assert layer(other).seal() == first


def test_layer_is_given_from_any_offset_on(root: Path) -> None:
    made = layer(root)
    sealed = made.seal()
    data = b"".join(made.chunks(sealed))
    edges = (10, 15, 65_540, 65_550, 131_085, len(data) - 8, len(data))
    for offset in sorted({min(len(data), edge + step) for edge in edges for step in (-1, 0, 1)}):
        assert b"".join(made.chunks(sealed, offset)) == data[offset:], offset


def test_file_that_differs_from_its_record_is_refused(root: Path) -> None:
    made = layer(root)
    sealed = made.seal()
    path = root / TITLE / "saved_model.pb"
    data = path.read_bytes()
    file = PackedFile(f"{TITLE}/saved_model.pb", FileEntry.of(path))
    for other in (data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:]):
        path.write_bytes(other)
        with pytest.raises(VerifyError, match=r"saved_model\.pb is missing or differs"):
            made.seal()
    path.write_bytes(data[:-1])
    with pytest.raises(VerifyError, match=r"saved_model\.pb"):
        b"".join(made.chunks(sealed))
    with pytest.raises(VerifyError, match=r"saved_model\.pb"):
        b"".join(read_file(root, file))
    path.unlink()
    with pytest.raises(VerifyError, match=r"saved_model\.pb is missing"):
        made.seal()


def test_file_is_given_from_any_offset_on(root: Path) -> None:
    path = root / TITLE / "saved_model.pb"
    file = PackedFile(f"{TITLE}/saved_model.pb", FileEntry.of(path))
    for offset in (0, 1, 299_999, 300_000):
        assert b"".join(read_file(root, file, offset)) == path.read_bytes()[offset:]
