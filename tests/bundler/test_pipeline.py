"""The pipeline, called from Python: versions, several models, settings that persist, and gates."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bundler
from bundler.bundle.manifest import Manifest
from bundler.errors import ParityError, PublishError, SpecError, UsageError
from bundler.pipeline import BuiltModel, ModelBuild, StageEvent, build_bundle, stage_count, with_builds
from bundler.spec.bundle_spec import parse_spec
from bundler.validation.choice import Choice
from serving.advise.forms import Candidate, Form
from serving.advise.settings import Setting


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def tree(root: Path) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock")
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def spec_of(*models: dict[str, Any], **sections: Any) -> Any:
    return parse_spec({"models": list(models), **sections}, where="the test")


def test_a_second_build_is_version_2_and_version_1_is_untouched(copy: Path, mlp_onnx: Path) -> None:
    before = tree(copy)
    bundle = bundler.build(mlp_onnx, out=copy)
    after = tree(copy)
    assert bundle.versions("mlp") == [1, 2]
    versioned = [path for path in before if "/mlp/1" in path and not path.startswith("smoke/")]
    assert len(versioned) == 8
    assert {path: after[path] for path in versioned} == {path: before[path] for path in versioned}
    assert bundle.verify() == []
    assert bundle.notices == ()


def test_an_existing_version_is_refused_before_any_work(copy: Path, mlp_onnx: Path) -> None:
    before = tree(copy)
    events: list[StageEvent] = []
    with pytest.raises(PublishError, match="Version 1 of model 'mlp' already exists"):
        bundler.build(mlp_onnx, out=copy, version=1, progress=events.append)
    assert events == []
    assert tree(copy) == before


@pytest.mark.compat
def test_a_module_in_memory_is_built_with_progress_and_evaluation(tmp_path: Path) -> None:
    torch_model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    events: list[StageEvent] = []
    seen: list[BuiltModel] = []

    def evaluate(built: BuiltModel) -> dict[str, Any]:
        seen.append(built)
        assert (built.saved_model / "saved_model.pb").is_file()
        assert [file.is_file() for file in built.tflite.values()] == [True]
        return {"metric": "none", "data": "none", "samples": 0, "results": {"pytorch": 1.0}}

    bundle = bundler.build(
        torch_model,
        torch.zeros(1, 4),
        tmp_path / "x",
        name="tanh",
        tflite=("float16",),
        progress=events.append,
        evaluate=evaluate,
    )
    assert bundle.path == tmp_path / "x"
    record = bundle.record("tanh")
    assert record["source"]["source"] == "python:Sequential"
    assert record["evaluation"]["results"] == {"pytorch": 1.0}
    assert str(bundle.signatures("tanh")["serving_default"].inputs[0]) == "input=float32[batch,4]"
    assert [event.part for event in events if event.part] == ["float16"]
    finished = [event.stage for event in events if event.status == "finished" and not event.part]
    assert finished == [
        "load",
        "export",
        "convert",
        "saved_model",
        "tflite",
        "parity",
        "evaluate",
        "render",
        "publish",
    ]
    assert len(finished) == stage_count(
        spec_of({"name": "a", "source": "a.py:b", "tflite": {"variants": ["float16"]}}), 1
    )
    assert len(seen) == 1
    want = torch_model(torch.ones(3, 4)).detach().numpy()
    np.testing.assert_allclose(
        seen[0].reference({"input": np.ones((3, 4), np.float32)})["output"], want, rtol=1e-6
    )


def test_models_and_settings_of_earlier_builds_persist(tmp_path: Path, mlp_onnx: Path) -> None:
    first = {"name": "a", "source": str(mlp_onnx)}
    second = {"name": "b", "source": str(mlp_onnx)}
    build_bundle(spec_of(first, serving={"rest_port": 9501}), tmp_path, base=tmp_path)
    bundle = build_bundle(spec_of(second), tmp_path, base=tmp_path)
    assert bundle.models() == ["a", "b"]
    assert bundle.manifest.spec["serving"]["rest_port"] == 9501
    config = (tmp_path / "serving" / "models.config").read_text()
    assert 'name: "a"' in config
    assert 'name: "b"' in config
    assert sorted(p.name for p in (tmp_path / "smoke" / "golden").iterdir()) == ["a", "b"]
    assert bundle.verify() == []


def test_a_label_for_a_missing_version_is_refused_before_any_work(
    tmp_path: Path, mlp_onnx: Path
) -> None:
    events: list[StageEvent] = []
    spec = spec_of({"name": "a", "source": str(mlp_onnx)}, serving={"labels": {"a": {"stable": 7}}})
    with pytest.raises(SpecError, match="no version 7"):
        build_bundle(spec, tmp_path / "x", base=tmp_path, progress=events.append)
    assert events == []
    assert not (tmp_path / "x").exists()


def test_a_model_that_differs_from_pytorch_is_not_published(tmp_path: Path) -> None:
    """No two engines compute the same last bits of a thousand tanh, so a tolerance of almost 0 must fail."""
    model = nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 20), nn.Tanh())
    events: list[StageEvent] = []
    with pytest.raises(ParityError) as caught:
        bundler.build(
            model, torch.ones(2, 4), tmp_path / "x", name="m", tolerance=1e-30, progress=events.append
        )
    assert caught.value.exit_code == 3
    assert caught.value.where, "the hint names the layer"
    assert (events[-1].stage, events[-1].status) == ("parity", "failed")
    assert not (tmp_path / "x").exists()


def test_wrong_arguments_are_refused(tmp_path: Path, mlp_onnx: Path) -> None:
    with pytest.raises(UsageError, match="example_inputs work only with a module"):
        bundler.build(mlp_onnx, [1, 2], tmp_path / "x")
    with pytest.raises(UsageError, match="converter: 'none' is not one of"):
        bundler.build(mlp_onnx, out=tmp_path / "x", converter="none")
    with pytest.raises(UsageError, match="int8"):
        bundler.build(mlp_onnx, out=tmp_path / "x", tflite=("int8",))
    with pytest.raises(UsageError, match="no model to build"):
        build_bundle(parse_spec({}, where="the test"), tmp_path / "x", base=tmp_path)
    assert not (tmp_path / "x").exists()


def test_a_wrong_worker_timeout_is_refused_before_any_work(
    tmp_path: Path, mlp_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFBUNDLE_WORKER_TIMEOUT", "soon")
    events: list[StageEvent] = []
    with pytest.raises(UsageError, match="TFBUNDLE_WORKER_TIMEOUT is 'soon'"):
        bundler.build(mlp_onnx, out=tmp_path / "x", tflite=("float32",), progress=events.append)
    assert events == []


def test_convert_returns_a_model_that_runs_and_can_be_saved(tmp_path: Path, mlp_onnx: Path) -> None:
    import onnx

    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    from_path = bundler.convert(mlp_onnx)
    from_proto = bundler.convert(onnx.load(mlp_onnx))
    got, same = (np.asarray(model(x=x)["y"]) for model in (from_path, from_proto))
    assert (got.dtype, got.shape) == (np.float32, (2, 3))
    np.testing.assert_allclose(got, same, rtol=1e-6)
    from_path.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "saved_model.pb").is_file()


def chosen(name: str, **form: Any) -> ModelBuild:
    """Return the build of a model whose chosen form is the float32 SavedModel with these changes."""
    winner = Candidate(Form(**{"artifact": "SavedModel", "precision": "float32", "source": Path(name), **form}), Setting(1))
    return ModelBuild(name, 1, {"signatures": {}}, (), (), choice=Choice("throughput", winner))


def test_what_was_chosen_becomes_a_setting_of_the_bundle() -> None:
    spec = spec_of({"name": "a", "source": "a.py:a", "optimize": "throughput"}, serving={"clients": "few"})
    manifest = with_builds(Manifest(spec.model_dump(mode="json")), spec, [chosen("a", mixed_precision=True)])
    (model,) = manifest.spec["models"]
    assert (model["optimize"], model["precision"], model["fast_path"]) == (None, "float32", False)
    serving = manifest.spec["serving"]
    assert (serving["mixed_precision"], serving["clients"]) == ("bfloat16", "few"), "what the user stated stays"
    assert manifest.versions("a") == [1]


def test_with_several_models_each_has_its_form_and_the_server_no_flag() -> None:
    models = [{"name": name, "source": f"{name}.py:make", "optimize": "size"} for name in ("a", "b")]
    spec = spec_of(*models)
    builds = [chosen("a", precision="bfloat16"), chosen("b", artifact="model.tflite", precision="int8")]
    manifest = with_builds(Manifest(spec.model_dump(mode="json")), spec, builds)
    a, b = manifest.spec["models"]
    assert (a["precision"], a["fast_path"], b["precision"], b["fast_path"]) == ("bfloat16", False, "float32", "int8")
    assert manifest.spec["serving"] == spec.model_dump(mode="json")["serving"]
    assert stage_count(spec) == 2 * 6 + 2
