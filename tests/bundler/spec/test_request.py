from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SpecError, UsageError
from bundler.spec.request import default_name, make_request, parse_dims, parse_names, parse_signatures


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
def test_a_name_comes_from_the_source(source: str, name: str) -> None:
    assert default_name(source) == name


def test_a_source_without_a_usable_name_asks_for_one() -> None:
    with pytest.raises(UsageError, match="--name"):
        default_name("???.onnx")


def test_options_become_the_model_of_a_spec() -> None:
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
def test_names_that_lead_elsewhere_are_usage_errors(name: str) -> None:
    if name == "":
        assert make_request("net.py:make", None, {"name": ""}).spec.models[0].name == "net"
        return
    with pytest.raises(UsageError, match="model name"):
        make_request("net.py:make", None, {"name": name})


def test_a_wrong_option_names_key_and_value() -> None:
    with pytest.raises(SpecError, match=r"tolerance.*-1"):
        make_request("net.py:make", None, {"tolerance": -1.0})
    with pytest.raises(SpecError, match=r"variants.*int4"):
        make_request("net.py:make", None, {"variants": ("int4",)})
    with pytest.raises(UsageError, match=r"float99"):
        make_request("net.py:make", None, {"inputs": ("x=float99[1]",)})


def test_a_bundle_yaml_is_relative_to_its_own_folder(tmp_path: Path) -> None:
    file = tmp_path / "project" / "bundle.yaml"
    file.parent.mkdir()
    file.write_text("models:\n  - {name: a, source: a.onnx}\n  - {name: b, source: b.onnx}\n")
    request = make_request(str(file), None, {})
    assert request.base == file.parent
    assert request.out == Path("dist/project")
    assert [model.name for model in request.spec.models] == ["a", "b"]


def test_options_have_no_place_beside_a_bundle_yaml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset, tolerance"):
        make_request(str(tmp_path / "bundle.yaml"), None, {"tolerance": 1.0, "opset": 18})


def test_unknown_key_in_a_bundle_yaml(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_text("models:\n  - {name: a, source: a.onnx, opsett: 17}\n")
    with pytest.raises(SpecError, match=r"models\.0\.opsett: unknown key"):
        make_request(str(file), None, {})


def test_lists_on_the_command_line() -> None:
    assert parse_names(" float16, int8,") == ("float16", "int8")
    assert parse_dims("batch=1, seq=64") == {"batch": 1, "seq": 64}
    assert parse_signatures(["embed=encode", "decode"]) == {
        "embed": {"method": "encode"},
        "decode": {"method": "decode"},
    }
    for text in ("seq", "seq=0", "seq=x", "=1"):
        with pytest.raises(UsageError, match="name=number"):
            parse_dims(text)
    with pytest.raises(UsageError, match="NAME=METHOD"):
        parse_signatures(["a b=c"])
