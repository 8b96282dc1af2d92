"""The sources that nodes get: what is below the folder of bundle.yaml, and nothing that has no use there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.errors import SourceError
from bundler.many.cluster import sources
from bundler.many.cluster.parcels import unpack
from bundler.many.cluster.sources import send
from bundler.many.units import Unit


def unit(base: Path, source: str, index: int = 0) -> Unit:
    spec = json.dumps({"models": [{"name": f"m{index}", "source": source}]})
    return Unit(index, f"m{index}", spec, str(base))


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def sent(units: list[Unit], into: Path) -> set[str]:
    """Return the names of the files that come with the only parcel."""
    (parcel,) = send(units, bytes).values()
    unpack(parcel.chunks, into)
    return {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}


def test_what_is_below_the_folder_is_sent_except_what_has_no_use_there(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, "model.py", "net/layers.py", "w.pt", ".git/config", "net/__pycache__/layers.pyc", "env/pyvenv.cfg", "env/lib.py",
          "dist/d/bundle.json", "dist/d/models/x")  # fmt: skip
    assert sent([unit(base, "model.py:make")], tmp_path / "to") == {"model.py", "net/layers.py", "w.pt"}


def test_what_a_model_names_is_sent_wherever_it_is_below_the_folder(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, ".hidden/model.onnx", "dist/d/bundle.json", "dist/d/onnx/m.onnx")
    names = sent([unit(base, ".hidden/model.onnx"), unit(base, "dist/d/onnx/m.onnx", 1)], tmp_path / "to")
    assert names == {".hidden/model.onnx", "dist/d/onnx/m.onnx"}


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, "model.py")
    write(tmp_path / "shared", "weights.pt")
    (base / "data").symlink_to(tmp_path / "shared")
    (base / "again").symlink_to(base)
    names = sent([unit(base, "model.py:make"), unit(base, "data/weights.pt", 1)], tmp_path / "to")
    assert names == {"model.py", "data/weights.pt"}


def test_a_file_outside_the_folder_is_named(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, "model.py")
    write(tmp_path, "weights.onnx")
    with pytest.raises(SourceError, match=r"m0 uses .*weights.onnx, which is not below") as caught:
        send([unit(base, "../weights.onnx")], bytes)
    assert caught.value.code == "TFB5257"
    send([unit(base, str(tmp_path / "weights.onnx"))], bytes)  # an absolute path is the nodes' own


def test_units_of_one_folder_share_a_parcel_and_its_digest_tells_of_changes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, "model.py")
    units = [unit(tmp_path / "a", "model.py:x"), unit(tmp_path / "a", "model.py:y", 1), unit(tmp_path / "b", "model.py:z", 2)]
    parcels = send(units, bytes)
    assert list(parcels) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert len({parcel.digest for parcel in parcels.values()}) == 1
    (tmp_path / "b" / "model.py").write_text("changed")
    assert len({parcel.digest for parcel in send(units, bytes).values()}) == 2


def test_too_much_is_refused_with_the_largest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "model.py")
    (tmp_path / "video.mp4").write_bytes(b"x" * 1000)
    monkeypatch.setattr(sources, "LIMIT_BYTES", 500)
    with pytest.raises(SourceError) as caught:
        send([unit(tmp_path, "model.py:make")], bytes)
    assert "video.mp4" in str(caught.value)


def test_a_file_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "model.py")
    monkeypatch.setattr(sources, "_check_size", lambda folder, files: (tmp_path / "model.py").unlink())
    with pytest.raises(SourceError, match="cannot be sent to the cluster: No such file") as caught:
        send([unit(tmp_path, "model.py:make")], bytes)
    assert caught.value.where == str(tmp_path / "model.py")
