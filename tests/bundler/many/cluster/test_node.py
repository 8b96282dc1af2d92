"""What runs on a node: the sources are unpacked once, what does not fit is told, and a build yields its stages and its entry."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from bundler.errors import PublishError
from bundler.many.cache import Cache, CacheEntry
from bundler.many.cluster import courier, node
from bundler.many.cluster.parcels import pack, unpack
from bundler.many.units import Unit, tools, variables
from tests.bundler.many import toys


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def expected(**changes: str) -> dict[str, dict[str, str]]:
    return {"tools": {**tools(), **changes}, "variables": variables()}


def archive(folder: Path) -> list[bytes]:
    return list(pack([(path.name, path) for path in sorted(folder.iterdir())]))


def test_sources_are_unpacked_once_and_old_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.py").write_text("x")
    root = node.folder_of_user()
    first = node.unpacked("1", archive(tmp_path / "base"), root)
    assert (first / "model.py").read_text() == "x"
    assert node.unpacked("1", iter(()), root) == first  # nothing is read
    stale = time.time() - node.KEPT_S - 60
    os.utime(first, (stale, stale))
    (root / "draft-killed").mkdir()
    os.utime(root / "draft-killed", (stale, stale))
    second = node.unpacked("2", archive(tmp_path / "base"), root)
    assert [path for path in root.iterdir() if path.is_dir()] == [second]


def test_tasks_that_begin_at_once_share_the_sources(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.py").write_text("x" * 100_000)
    chunks, root, found = archive(tmp_path / "base"), node.folder_of_user(), []
    threads = [threading.Thread(target=lambda: found.append(node.unpacked("1", iter(chunks), root))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert [path.name for path in found[0].iterdir()] == ["model.py"]


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tmp" / f"tfbundle-ray-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PublishError, match="others may write to it") as caught:
        node.folder_of_user()
    assert caught.value.code == "TFB5256"


def test_a_node_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(chunks: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node, "unpack", full)
    with pytest.raises(PublishError, match="No space left on device"):
        node.unpacked("1", iter(()), node.folder_of_user())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"torch": "2.0"}, "other versions are installed there: torch 2.0 (here 2.9)"),
        ({"torch": None, "files of tfbundle": "y"}, "torch is missing (here 2.9)"),
        ({"files of tfbundle": "y"}, "its tfbundle 0.1 has other files"),
        (dict.fromkeys("abcde", "1"), "a 1 (here missing), b 1 (here missing), c 1 (here missing) and 2 more"),
    ],
)
def test_differences_are_told_in_words(changes: dict[str, str | None], words: str) -> None:
    expected = {"tfbundle": "0.1", "torch": "2.9", "files of tfbundle": "x"}
    found = {name: version for name, version in {**expected, **changes}.items() if version is not None}
    assert words in node.difference(expected, found)
    assert bool(node.difference(expected, found)) == bool(words)


def test_a_build_yields_its_stages_then_its_entry(
    tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundler.pipeline import StageEvent

    def build_unit(unit: Unit, cache: Cache, progress: object) -> CacheEntry:
        assert Path.cwd() == Path(unit.base) != tmp_path / "base"
        progress(StageEvent(unit.name, "load", "started"))  # type: ignore[operator]
        return toys.make_entry(unit, cache, small_bundle)

    (tmp_path / "base").mkdir()
    monkeypatch.setattr(node, "build_unit", build_unit)
    monkeypatch.setattr(node, "_prepare", lambda: None)
    unit, before = toys.unit(0, "a", tmp_path / "base"), Path.cwd()
    messages = list(node.build(vars(unit), "1", (), {"tools": {}, "variables": {}}))
    assert messages[0][0] == "unfit" and "missing" in messages[0][1]
    messages = list(node.build(vars(unit), "1", archive(tmp_path / "base"), expected()))
    kinds = [kind for kind, _ in messages]
    assert kinds == ["stage", *["chunk"] * (len(kinds) - 2), "built"]
    unpack([content for kind, content in messages if kind == "chunk"], tmp_path / "entry")
    last = messages[-1][1]
    CacheEntry(last["key"], tmp_path / "entry", "a").check()
    assert list(last["inputs"]) == ["a.onnx"]  # relative to the folder, so that they are the same here
    assert Path.cwd() == before
    assert not list(node.folder_of_user().glob("build-*"))


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3)])
def test_whatever_the_users_code_raises_is_told(
    raised: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_unit(unit: Unit, cache: Cache, progress: object) -> CacheEntry:
        raise raised

    (tmp_path / "base").mkdir()
    monkeypatch.setattr(node, "build_unit", build_unit)
    monkeypatch.setattr(node, "_prepare", lambda: None)
    unit = toys.unit(0, "a", tmp_path / "base")
    ((kind, error),) = node.build(vars(unit), "1", archive(tmp_path / "base"), expected())
    assert kind == "failed" and type(raised).__name__ in error["what"]


def test_the_requests_of_units_are_those_of_this_machine(tmp_path: Path) -> None:
    unit = toys.unit(0, "a", tmp_path)
    assert courier.examine([vars(unit)], expected()) == {"unfit": "", "requests": [unit.request()]}
    other = courier.examine([vars(unit)], expected(torch="0.1"))
    assert other["requests"] == [] and "torch" in other["unfit"]


def test_variables_of_the_asking_machine_are_those_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    monkeypatch.setenv("XLA_FLAGS", "--of-the-node")
    unit = toys.unit(0, "a", tmp_path)
    here = {"tools": dict(tools()), "variables": {"SOURCE_DATE_EPOCH": "1700000000"}}
    (request,) = node.examine([vars(unit)], here)["requests"]
    assert os.environ["SOURCE_DATE_EPOCH"] == "1700000000" and "XLA_FLAGS" not in os.environ
    assert request == unit.request()


def test_a_node_without_tfbundle_says_so() -> None:
    assert "its tfbundle" in courier.without_tfbundle(ImportError("No module named 'bundler.many'"))
