"""Shards in a store and in a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bundler.errors import VerifyError
from bundler.many.build import build_many
from bundler.many.cache import Cache
from bundler.many.shards import Shard, build_shard
from bundler.operations.many import Places, merge_shards
from bundler.operations.shard_transfer import download, upload
from tests.bundler.many.test_build import contents
from tests.bundler.many.toys import ToyEngine, hooks, models, render_only_the_report
from tests.registries import registry
from tests.requirements import docker_registry


@pytest.fixture(autouse=True)
def quick_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    render_only_the_report(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def upload_all(address: str, folder: Path, cache: Cache, bundle: Path, *, insecure: bool = False) -> list[str]:
    """Build two shards and the whole bundle, `whole/out`; upload the shards and return their addresses."""
    asked, engine = models(folder, "a", "b", "c"), ToyEngine(bundle)
    build_many(asked, folder / "whole" / "out", engine, cache, hooks())
    shards = [build_shard(asked, Shard(number, 2), folder / "shards", engine, cache, hooks())[0] for number in (1, 2)]
    return [upload(shard, address, insecure=insecure) for shard in shards]


def test_shards_meet_in_a_store(tmp_path: Path, cache: Cache, small_bundle: Path) -> None:
    address = f"file://{tmp_path}/bucket/night"
    written = upload_all(address, tmp_path, cache, small_bundle)
    assert written == [f"{address}/shard-1-of-2", f"{address}/shard-2-of-2"]
    for place, given in (("one", [address]), ("two", written)):
        merge_shards(Places(tuple(given)), tmp_path / place / "out", hooks())
        assert contents(tmp_path / place / "out") == contents(tmp_path / "whole" / "out")


def test_a_shard_of_a_store_that_lacks_a_file_is_damaged(tmp_path: Path, cache: Cache, small_bundle: Path) -> None:
    address = f"file://{tmp_path}/bucket/night"
    upload_all(address, tmp_path, cache, small_bundle)
    next((tmp_path / "bucket").glob("night/shard-1-of-2/entries/*/result.json")).unlink()
    with pytest.raises(VerifyError, match=r"result\.json is missing"):
        download(address, tmp_path / "into")
    shutil.rmtree(tmp_path / "bucket")
    with pytest.raises(VerifyError, match="There is no shard at"):
        download(address, tmp_path / "into")


def test_shards_meet_in_a_registry(tmp_path: Path, cache: Cache, small_bundle: Path) -> None:
    docker_registry()
    (tmp_path / "storage").mkdir()
    with registry(tmp_path / "storage") as running:
        address = running.address("models/night:run")
        written = upload_all(address, tmp_path, cache, small_bundle, insecure=True)
        assert written == [f"{address}-shard-1-of-2", f"{address}-shard-2-of-2"]
        for place, given in (("one", [address]), ("two", written)):
            merge_shards(Places(tuple(given), insecure=True), tmp_path / place / "out", hooks())
            assert contents(tmp_path / place / "out") == contents(tmp_path / "whole" / "out")
        with pytest.raises(VerifyError, match="There is no shard at"):
            download(running.address("models/night:other"), tmp_path / "into", insecure=True)
