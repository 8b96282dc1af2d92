"""Shards: each model is in one of them, and only a whole set becomes a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bundler.bundle.staging import Staging
from bundler.errors import ModelsError, PublishError, UsageError, VerifyError
from bundler.many.build import Models, build_many
from bundler.many.cache import Cache
from bundler.many.shards import FILE, Shard, ShardFolder, build_shard, find_shards, merge
from bundler.validation.bundle import Bundle
from tests.bundler.cli.commands import run as tfbundle
from tests.bundler.many.test_build import contents
from tests.bundler.many.toys import ToyEngine, hooks, models

NAMES = ("a", "b", "c")


def build_all(asked: Models, out: Path, engine: ToyEngine, cache: Cache, total: int = 2) -> list[ShardFolder]:
    return [build_shard(asked, Shard(number, total), out, engine, cache, hooks())[0] for number in range(1, total + 1)]


def test_merged_shards_are_the_bundle_of_one_build(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    asked = models(tmp_path, *NAMES, serving={"batching": True})
    first, second = build_all(asked, tmp_path / "shards", toys_engine, cache)
    assert (sorted(first.models), sorted(second.models)) == (["a", "c"], ["b"])
    assert toys_engine.built == ["a", "c", "b"]
    merge([second, first], tmp_path / "merged" / "out", hooks())
    build_many(asked, tmp_path / "whole" / "out", toys_engine, cache, hooks())
    assert contents(tmp_path / "merged" / "out") == contents(tmp_path / "whole" / "out")


def test_more_shards_than_models_leave_some_empty(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    made = build_all(models(tmp_path, "a"), tmp_path / "shards", toys_engine, cache, total=2)
    assert [len(shard.models) for shard in made] == [1, 0]
    assert merge(made, tmp_path / "out", hooks()).bundle.models() == ["a"]


def test_failures_in_shards_are_those_of_the_merge(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    made = build_all(models(tmp_path, "a", "fails"), tmp_path / "shards", toys_engine, cache)
    with pytest.raises(ModelsError, match="1 of 2 models failed") as raised:
        merge(made, tmp_path / "out", hooks())
    assert raised.value.exit_code == 3 and Bundle.open(tmp_path / "out").models() == ["a"]


def test_missing_double_and_differing_shards_are_refused(
    tmp_path: Path, cache: Cache, toys_engine: ToyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = build_all(models(tmp_path, *NAMES), tmp_path / "one", toys_engine, cache)
    (other, _) = build_all(models(tmp_path, *NAMES, serving={"batching": True}), tmp_path / "two", toys_engine, cache)
    monkeypatch.setattr("bundler.many.shards.tool_versions", lambda: {"torch": "9.9"})
    newer = build_all(models(tmp_path, *NAMES), tmp_path / "three", toys_engine, cache)[1]
    for given, message in (
        ([first], "1 shard of 2 is missing: 2/2."),
        ([first, second, first], "Shard 1/2 was given 2 times."),
        ([second, other], "differ in their bundle.yaml or in the number of shards"),
        ([first, newer], "were built with different versions of"),
    ):
        with pytest.raises(UsageError, match=message) as raised:
            merge(given, tmp_path / "out", hooks())
        assert raised.value.code == "TFB5210"
    assert not (tmp_path / "out").exists()


def test_damaged_shards_publish_nothing(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    made = build_all(models(tmp_path, *NAMES), tmp_path / "shards", toys_engine, cache)
    golden = next((tmp_path / "shards").glob("shard-1-of-2/entries/*/files/golden/a/1.npz"))
    content = golden.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"?"):
        golden.write_bytes(damaged)
        with pytest.raises(VerifyError, match=r"1\.npz is not as it was written") as raised:
            merge(made, tmp_path / "out", hooks())
        assert raised.value.code == "TFB5209" and not (tmp_path / "out").exists()
    golden.unlink()
    with pytest.raises(VerifyError, match="not as it was written"):
        merge(made, tmp_path / "out", hooks())


@pytest.mark.parametrize("path", ["../evil", "/evil", "entries/../../evil", "other/x", "entries//x"])
def test_a_shard_that_lists_paths_outside_is_refused(path: str, tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    from bundler.many.cache import digest

    (made,) = build_all(models(tmp_path, "a"), tmp_path / "shards", toys_engine, cache, total=1)
    content = json.loads((made.folder / FILE).read_text())
    content["files"][path] = [1, "0" * 64]
    del content["checksum"]
    (made.folder / FILE).write_text(json.dumps({**content, "checksum": digest(content)}))
    with pytest.raises(VerifyError, match="which is not the path of a file in it"):
        ShardFolder.read(made.folder)


def test_a_folder_without_an_index_is_no_shard(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match="is not a shard") as raised:
        find_shards([tmp_path])
    assert raised.value.code == "TFB5208"
    for content in ("", "{}", "[]", '{"checksum": 1, "schema": "other"}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(VerifyError, match="is damaged"):
            find_shards([tmp_path])


def test_a_shard_is_replaced_as_a_whole(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    asked = models(tmp_path, "a")
    build_all(asked, tmp_path / "shards", toys_engine, cache, total=1)
    (tmp_path / "a.onnx").write_bytes(b"other")
    build_all(asked, tmp_path / "shards", toys_engine, cache, total=1)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["shard-1-of-1"]
    assert len(list((tmp_path / "shards").glob("*/entries/*"))) == 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/2", "1/0", "-1/2", "1/2/3", ""])
def test_shards_have_a_number_and_a_total(text: str) -> None:
    with pytest.raises(UsageError, match="is not a shard") as raised:
        Shard.parse(text)
    assert raised.value.code == "TFB5207"


def test_an_indexed_job_chooses_the_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert Shard.parse("job/4") == Shard(3, 4) and Shard.parse("1/4") == Shard(1, 4)
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    with pytest.raises(UsageError, match="takes its number from JOB_COMPLETION_INDEX"):
        Shard.parse("job/4")


def test_two_merges_at_once_are_one_message_and_one_bundle(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    made = build_all(models(tmp_path, "a"), tmp_path / "shards", toys_engine, cache, total=1)
    out = tmp_path / "out"
    with Staging(out), pytest.raises(PublishError, match="Another build is writing into") as raised:
        merge(made, out, hooks())
    assert raised.value.code == "TFB5005"
    merge(made, out, hooks())
    assert Bundle.open(out).versions("a") == [1]


def test_commands_merge_folders_of_shards(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    build_all(models(tmp_path, *NAMES), tmp_path / "shards", toys_engine, cache)
    result = tfbundle("merge", tmp_path / "shards", "-o", tmp_path / "out", "--json")
    assert [row["outcome"] for row in json.loads(result.stdout)["build"]] == ["cached"] * 3
    shutil.rmtree(tmp_path / "shards" / "shard-2-of-2")
    assert "1 shard of 2 is missing: 2/2." in tfbundle("merge", tmp_path / "shards", "-o", tmp_path / "out", code=2).stderr
