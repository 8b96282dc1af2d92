from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SpecError, UsageError
from bundler.spec.model_names import default_name
from bundler.spec.request import check_options, make_request


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("nets/digits.py:make", "digits"),
        ("unet.onnx", "unet"),
        ("w/model.v2.safetensors", "model.v2"),
        ("timm:resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf:org/mini-lm", "mini-lm"),
        ("hf:./checkpoints/bert/", "bert"),
        ("python:DigitsCnn", "DigitsCnn"),
        ("my model.pt2", "my-model"),
    ],
)
def test_a_missing_name_is_inferred_from_the_source(source: str, name: str) -> None:
    assert default_name(source) == name


def test_a_source_without_a_usable_name_needs_the_option_name() -> None:
    with pytest.raises(UsageError, match="--name"):
        default_name("???.onnx")


def test_options_become_the_fields_of_a_model() -> None:
    options = {
        "inputs": ("x=float32[batch,3]",),
        "tolerance": 1e-3,
        "variants": ("int8",),
        "calibration": "c.npz",
        "dims": {"batch": 4, "seq": 64},
        "signatures": {"embed": {"method": "encode"}},
    }
    request = make_request("net.py:make", None, options)
    (model,) = request.spec.models
    assert (model.name, model.source, model.tolerance) == ("net", "net.py:make", 1e-3)
    assert (model.tflite.variants, model.tflite.calibration) == (("int8",), "c.npz")
    assert (model.tflite.batch, model.tflite.dims) == (4, {"seq": 64})
    assert model.signatures["embed"].method == "encode"
    assert (request.out, request.base) == (Path("dist/net"), Path.cwd())


@pytest.mark.parametrize("name", ["a/b", "..", "a..b", "/etc", "", " ", "-x", "x" * 64])
def test_a_name_that_is_not_a_folder_name_is_a_usage_error(name: str) -> None:
    if name == "":
        assert make_request("net.py:make", None, {"name": ""}).spec.models[0].name == "net"
        return
    with pytest.raises(UsageError, match="model name"):
        make_request("net.py:make", None, {"name": name})


def test_the_error_of_a_wrong_option_names_key_and_value() -> None:
    with pytest.raises(SpecError, match=r"tolerance.*-1"):
        make_request("net.py:make", None, {"tolerance": -1.0})
    with pytest.raises(SpecError, match=r"variants.*int2"):
        make_request("net.py:make", None, {"variants": ("int2",)})
    with pytest.raises(UsageError, match=r"float99"):
        make_request("net.py:make", None, {"inputs": ("x=float99[1]",)})


def test_paths_of_a_bundle_yaml_are_relative_to_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "project" / "bundle.yaml"
    file.parent.mkdir()
    file.write_text("models:\n  - {name: a, source: a.onnx}\n  - {name: b, source: b.onnx}\n")
    request = make_request(str(file), None, {})
    assert request.base == file.parent
    assert request.out == Path("dist/project")
    assert [model.name for model in request.spec.models] == ["a", "b"]


def test_options_are_not_allowed_with_a_bundle_yaml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset, tolerance"):
        make_request(str(tmp_path / "bundle.yaml"), None, {"tolerance": 1.0, "opset": 18})


def test_an_unknown_key_of_a_bundle_yaml_is_an_error_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_text("models:\n  - {name: a, source: a.onnx, opsett: 17}\n")
    with pytest.raises(SpecError, match=r"unknown key 'opsett'; did you mean 'opset'\?\n  where: .*, models\.0\.opsett"):
        make_request(str(file), None, {})


def test_keywords_and_field_names_are_both_options() -> None:
    by_keyword = make_request("net.py:make", None, {"tflite": ["int8"], "gate": "m.py:f", "calibration": "c.npz"})
    by_field = make_request("net.py:make", None, {"variants": ["int8"], "evaluate": "m.py:f", "calibration": "c.npz"})
    assert by_keyword.spec == by_field.spec
    assert by_keyword.spec.models[0].tflite.evaluate == "m.py:f"


def test_an_unknown_keyword_suggests_one_of_any_section() -> None:
    for typo, keyword in (("tolerence", "tolerance"), ("max_dropp", "max_drop"), ("inputz", "inputs")):
        with pytest.raises(SpecError) as info:
            make_request("net.py:make", None, {typo: 1})
        assert info.value.what == f"unknown key '{typo}'; did you mean '{keyword}'?"
        assert info.value.exit_code == 2


def test_options_can_be_checked_without_a_build() -> None:
    check_options({"layout": "nhwc"})
    with pytest.raises(SpecError, match=r"layout: 'nchw' is not one of keep, nhwc; did you mean 'nhwc'\?"):
        check_options({"layout": "nchw"})
