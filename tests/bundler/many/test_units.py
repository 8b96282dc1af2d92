"""Units: what they are asked for by, and a real build of one in a worker."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bundler.many.cache import Cache
from bundler.many.processes import ProcessEngine
from bundler.many.units import Unit, find_entry, units_of
from bundler.spec.bundle_spec import parse_spec
from tests.bundler.many.toys import hooks


def units(base: Path, **sections: object) -> list[Unit]:
    spec = parse_spec({"models": [{"name": name, "source": f"{name}.onnx"} for name in "ab"], **sections}, where="x")
    return units_of(spec, {"a": base, "b": base})


def test_units_can_be_pickled_and_know_their_model(tmp_path: Path) -> None:
    first, second = units(tmp_path)
    assert pickle.loads(pickle.dumps(first)) == first
    assert (second.index, second.name, second.model["source"], second.is_only) == (1, "b", "b.onnx", False)


def test_only_what_changes_the_artifacts_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = units(tmp_path)[0].request()
    assert request == units(tmp_path / "elsewhere")[0].request()
    for sections in ({"serving": {"rest_port": 9000}}, {"kubernetes": {"replicas": 3}}, {"docker": {"tag": "2.18.0"}}):
        assert units(tmp_path, **sections)[0].request() == request
    assert units(tmp_path)[1].request() != request
    assert units(tmp_path, serving={"batching": True})[0].request() != request
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert units(tmp_path)[0].request() != request


def test_units_that_choose_by_measured_times_are_known(tmp_path: Path) -> None:
    def measures(**model: object) -> bool:
        spec = parse_spec({"models": [{"name": "a", "source": "a.onnx", **model}]}, where="x")
        return units_of(spec, {"a": tmp_path})[0].measures

    assert measures(optimize="size") and measures(precision="bfloat16")
    assert not measures() and not measures(tflite={"variants": ["int8"]})
    assert units(tmp_path, serving={"mixed_precision": "bfloat16"})[0].measures


def test_a_worker_builds_real_models(mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(mlp_onnx.read_bytes() if name == "a" else b"damaged")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    cache, both = Cache(tmp_path / "cache"), units(tmp_path)
    outcomes = {outcome.unit.name: outcome for outcome in ProcessEngine(1).run(both, cache, hooks())}
    entry, error = outcomes["a"].entry, outcomes["b"].error
    assert entry is not None and error is not None and error.code == "TFB3004", error
    record = entry.result()["record"]
    assert (record["created"], record["stages"]) == ("2023-11-14T22:13:20+00:00", {})
    assert {"tensorflow", "onnx", "numpy"} <= set(record["build"]["packages"]) and "pytest" not in record["build"]["packages"]
    assert find_entry(both[0], cache) == entry and find_entry(both[1], cache) is None
    assert str(tmp_path) not in (entry.folder / "result.json").read_text()


def test_the_tools_are_part_of_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = units(tmp_path)[0].request()
    monkeypatch.setattr("bundler.many.units.tools", lambda: {"torch": "0"})
    assert units(tmp_path)[0].request() != request
