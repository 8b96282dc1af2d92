"""Builds of many models: what comes from the cache, what is published, and what a failure means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.errors import ModelsError, ParityError, TfbundleError, UsageError, VerifyError
from bundler.many import build
from bundler.many.build import build_many
from bundler.many.cache import Cache
from bundler.many.engine import Outcome
from bundler.many.units import Unit
from bundler.operations.many import Part
from bundler.validation.bundle import Bundle
from tests.bundler.bundle.test_staging import assert_sound
from tests.bundler.many.toys import ToyEngine, hooks, models


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_models_come_from_the_cache_while_their_inputs_are_as_they_were(
    tmp_path: Path, cache: Cache, toys_engine: ToyEngine
) -> None:
    asked = models(tmp_path, "a", "b", "c")
    first = build_many(asked, tmp_path / "one" / "out", toys_engine, cache, hooks())
    assert first.bundle.models() == ["a", "b", "c"] and toys_engine.built == ["a", "b", "c"]
    assert_sound(tmp_path / "one" / "out")
    toys_engine.built.clear()
    second = build_many(asked, tmp_path / "two" / "out", toys_engine, cache, hooks())
    assert toys_engine.built == [] and all(outcome.is_cached for outcome in second.outcomes)
    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "two" / "out")
    (tmp_path / "b.onnx").write_bytes(b"other weights")
    third = build_many(asked, tmp_path / "one" / "out", toys_engine, cache, hooks())
    assert toys_engine.built == ["b"]
    assert {name: third.bundle.versions(name) for name in "abc"} == {"a": [1], "b": [1], "c": [1]}  # the same toy artifacts


def test_an_unchanged_build_makes_no_new_version_unless_one_is_asked_for(
    tmp_path: Path, cache: Cache, toys_engine: ToyEngine
) -> None:
    out, said = tmp_path / "out", list[str]()
    build_many(models(tmp_path, "a", "b"), out, toys_engine, cache, hooks())
    before = contents(out)
    build_many(models(tmp_path, "a", "b"), out, toys_engine, cache, hooks(said))
    assert contents(out) == before
    assert said == ["2 models are as in the latest version, so there is no new one."]
    build_many(models(tmp_path, "a", "b"), out, toys_engine, cache, hooks(), version=7)
    assert Bundle.open(out).versions("a") == [1, 7]


def test_failures_do_not_stop_the_others_and_keep_their_versions(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    out = tmp_path / "out"
    asked = models(tmp_path, "a", "fails", "b", serving={"labels": {"fails": {"stable": 1}, "b": {"stable": 1}}})
    with pytest.raises(ModelsError, match="1 of 3 models failed; the others were published:\n    fails: It differs") as raised:
        build_many(asked, out, toys_engine, cache, hooks())
    assert (raised.value.exit_code, raised.value.code) == (3, "TFB5205")
    bundle = Bundle.open(out)
    assert bundle.models() == ["a", "b"]
    assert bundle.manifest.spec["serving"]["labels"] == {"b": {"stable": 1}}
    report = (out / "report.html").read_text()
    assert "Failures: 1 model could not be built" in report and "It differs." in report
    assert [outcome.unit.name for outcome in raised.value.outcomes] == ["a", "fails", "b"]  # type: ignore[attr-defined]


def test_nothing_is_published_if_no_model_could_be_built(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    with pytest.raises(ModelsError, match="None of 2 models could be built, and nothing was published") as raised:
        build_many(models(tmp_path, "fails1", "fails2"), tmp_path / "out", toys_engine, cache, hooks())
    assert raised.value.exit_code == 3 and not (tmp_path / "out").exists()
    with pytest.raises(ParityError, match="It differs"):
        build_many(models(tmp_path, "fails1"), tmp_path / "out", toys_engine, cache, hooks())
    with pytest.raises(UsageError, match="no model to build"):
        build_many(models(tmp_path), tmp_path / "out", toys_engine, cache, hooks())


def test_a_corrupted_cache_entry_is_told_and_built_again(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    asked, said = models(tmp_path, "a", "b"), list[str]()
    build_many(asked, tmp_path / "one" / "out", toys_engine, cache, hooks())
    variables = next((cache.root / "entries").glob("*/*/files/models/a/1/saved_model.pb"))
    variables.write_bytes(variables.read_bytes()[:-1] + b"?")
    toys_engine.built.clear()
    build_many(asked, tmp_path / "two" / "out", toys_engine, cache, hooks(said))
    assert said == [
        "a: its cache entry is damaged (files/models/a/1/saved_model.pb is not as it was written); the model is built again."
    ]
    assert toys_engine.built == ["a"]
    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "two" / "out")


def test_an_entry_that_is_damaged_before_it_is_copied_is_never_published(
    tmp_path: Path, cache: Cache, toys_engine: ToyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(outcome: Outcome, hooks: object) -> Outcome:
        for file in (cache.root / "entries").glob("*/*/files/golden/a/1.npz"):
            file.write_bytes(b"damaged")
        return outcome

    monkeypatch.setattr(build, "_told", damaged)
    with pytest.raises(VerifyError, match=r"The cache entry of a is damaged: 1\.npz is not as it was written") as raised:
        build_many(models(tmp_path, "a"), tmp_path / "out", toys_engine, cache, hooks())
    assert raised.value.code == "TFB5202" and not (tmp_path / "out").exists()
    assert not list((cache.root / "entries").glob("*/*"))


def test_entries_are_placed_under_the_version_of_the_bundle(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    build_many(models(tmp_path, "a"), tmp_path / "out", toys_engine, cache, hooks(), version=5)
    layout = BundleLayout(tmp_path / "out")
    assert layout.onnx_file("a", 5).is_file() and layout.golden_file("a", 5).is_file()
    assert layout.tflite_file("a", 5, "float32").is_file() and (layout.version_dir("a", 5) / "assets").is_dir()
    assert Manifest.read(layout.manifest).models["a"][5]["tflite"]["float32"]["file"] == "a-float32.tflite"


@pytest.mark.slow
def test_report_has_an_index_of_a_hundred_models(tmp_path: Path, cache: Cache, toys_engine: ToyEngine) -> None:
    names = [f"m{number:03d}" for number in range(100)]
    many = build_many(models(tmp_path, *names), tmp_path / "out", toys_engine, cache, hooks())
    report = many.bundle.layout.report.read_text()
    assert report.count('<th scope="col">Build time</th>') == 1
    assert all(f'">{name}</a>' in report for name in names)
    assert len(json.loads((tmp_path / "out" / "bundle.json").read_text())["models"]) == 100


def test_models_that_failed_differently_end_a_command_with_1() -> None:
    def part(*errors: TfbundleError) -> Part:
        return Part("1/1", "x", "x", tuple(Outcome(Unit(0, "a", "{}", "."), error=error) for error in errors))

    wrong, unlike = UsageError("wrong", fix="correct it"), ParityError("unlike", fix="correct it")
    assert (part().exit_code, part(wrong, wrong).exit_code, part(wrong, unlike).exit_code) == (0, 2, 1)
