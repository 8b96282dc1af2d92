"""A wrong value has the same message in bundle.yaml, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import bundler
from bundler.cli.app import app
from bundler.errors import SpecError
from bundler.spec.bundle_spec import parse_spec, read_spec
from bundler.spec.options import BuildOption, build_options
from bundler.spec.problems import did_you_mean, show, unknown_key

STEPS = {"ge": -1, "gt": 0, "le": 1, "lt": 0}


def wrong_values(option: BuildOption) -> list[Any]:
    """A misspelled choice, a value just out of each bound, and a value of another type."""
    field = option.field
    misspelled = [f"{choice}x" for choice in field.choices]
    beyond = [field.limits[end] + STEPS[end] for end in field.limits]
    return [*misspelled, *beyond, *(["abc"] if field.is_number else [])]


CASES = [
    pytest.param(option, value, id=f"{option.keyword or option.name}-{value}")
    for option in build_options()
    for value in wrong_values(option)
]


def from_yaml(option: BuildOption, value: Any, folder: Path) -> SpecError:
    member = [value] if option.field.option.commas else value
    fields = {option.name: member}
    model = {"name": "net", "source": "net.onnx", **({"tflite": fields} if option.in_tflite else fields)}
    file = folder / "bundle.yaml"
    YAML(typ="safe").dump({"models": [model]}, file)
    with pytest.raises(SpecError) as info:
        read_spec(file)
    return info.value


def from_python(option: BuildOption, value: Any, folder: Path) -> SpecError:
    member = [value] if option.field.option.commas else value
    with pytest.raises(SpecError) as info:
        bundler.build("net.onnx", out=folder / "x", **{option.keyword: member})  # type: ignore[arg-type]
    return info.value


@pytest.mark.parametrize(("option", "value"), CASES)
def test_a_wrong_value_has_the_same_message_from_all_three_sides(option: BuildOption, value: Any, tmp_path: Path) -> None:
    error = from_yaml(option, value, tmp_path)
    assert error.exit_code == 2
    assert option.name in error.what
    assert show(value) in error.what
    for choice in option.field.choices:
        assert choice in error.what
    assert "did you mean" in error.what or not option.field.choices
    assert option.field.bounds in error.what or value == "abc"
    python = from_python(option, value, tmp_path)
    assert (python.what, python.fix, python.exit_code) == (error.what, error.fix, 2)
    if option.flag:
        result = CliRunner().invoke(app, ["build", "net.onnx", option.flag, str(value), "-o", str(tmp_path / "x")])
        assert result.exit_code == 2, result.output
        where = "the options given for net.onnx"
        assert result.stderr == f"error {error.code}: {error.what}\n  where: {where}\n  to do: {error.fix}\n"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"batch": 0}, ["--dims", "batch=0"], "tflite.batch: 0 is out of range; it must be at least 1"),
        ({"dims": {"seq": 0}}, ["--dims", "seq=0"], "tflite.dims.seq: 0 is out of range; it must be greater than 0"),
        ({"dims": {"seq": "x"}}, ["--dims", "seq=x"], "tflite.dims.seq: 'x' is not a whole number"),
        (
            {"shapes": {"long": {"seq": -1}}},
            ["--shape", "long:seq=-1"],
            "tflite.shapes.long.seq: -1 is out of range; it must be greater than 0",
        ),
    ],
)
def test_sizes_have_the_same_message_from_all_three_sides(
    options: dict[str, Any], arguments: list[str], message: str, tmp_path: Path
) -> None:
    model = {"name": "net", "source": "net.onnx", "tflite": options}
    with pytest.raises(SpecError) as yaml:
        parse_spec({"models": [model]}, where="bundle.yaml")
    with pytest.raises(SpecError) as python:
        bundler.build("net.onnx", out=tmp_path / "x", **options)
    result = CliRunner().invoke(app, ["build", "net.onnx", *arguments, "-o", str(tmp_path / "x")])
    assert yaml.value.what == python.value.what == message
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error TFB1103: {message}\n")


def test_the_cases_cover_every_option_with_choices_or_bounds() -> None:
    covered = {parameter.values[0].name for parameter in CASES}  # type: ignore[union-attr]
    assert covered == {
        "opset", "layout", "tolerance", "variants", "batch", "io", "io_type", "max_drop", "min_sqnr", "min_top1", "precision",
        "fast_path", "optimize",
    }  # fmt: skip


def test_an_unknown_key_has_the_same_message_in_yaml_and_in_python(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as yaml:
        parse_spec({"models": [{"name": "net", "source": "net.onnx", "tolerence": 1}]}, where="bundle.yaml")
    with pytest.raises(SpecError) as python:
        bundler.build("net.onnx", out=tmp_path, tolerence=1)  # type: ignore[call-arg]
    assert yaml.value.what == python.value.what == "unknown key 'tolerence'; did you mean 'tolerance'?"
    assert yaml.value.fix == python.value.fix
    assert yaml.value.where == "bundle.yaml, models.0.tolerence"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"models": 3}, "models: 3 is not a list of values"),
        ({"models": [3]}, "models.0: 3 is not a mapping"),
        ({"models": [{}]}, "name: a value is required; e.g. resnet18"),
        ({"serving": {"grpc_port": 0}}, "serving.grpc_port: 0 is out of range; it must be from 1 to 65535"),
        ({"serving": {"batching": "perhaps"}}, "serving.batching: 'perhaps' is not true or false"),
        ({"serving": {"monitoring_path": "x y"}}, "e.g. /monitoring/prometheus/metrics"),
        ({"kubernetes": {"host": "a." * 130}}, "is longer than 253 characters"),
        ({"kubernetes": {"components": ["gatewy"]}}, "did you mean 'gateway'?"),
        ({"docker": {"tagg": "1"}}, "unknown key 'tagg'; did you mean 'tag'?"),
        ({"docker": {"x": "1"}}, "unknown key 'x'; the keys are image, tag, digest"),
        ({"serving": {"labels": {"m": {"stable": None}}}}, "serving.labels.m.stable: null is not a whole number"),
    ],
)
def test_messages_of_other_sections(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as info:
        parse_spec(data, where="bundle.yaml")
    assert message in info.value.what


def test_the_branches_of_a_union_are_one_problem() -> None:
    images = {"resize": "abc"}
    model = {"name": "m", "source": "m.onnx", "tflite": {"images": images}}
    with pytest.raises(SpecError) as info:
        parse_spec({"models": [model]}, where="bundle.yaml")
    assert info.value.what == "tflite.images.resize: 'abc' is not a whole number or a list of 2 whole numbers"


def test_suggestions_and_values() -> None:
    assert did_you_mean("NHWC", ["keep", "nhwc"]) == "; did you mean 'nhwc'?"
    assert did_you_mean("zzz", ["keep", "nhwc"]) == ""
    assert unknown_key("zzz", ["a", "b"]) == "unknown key 'zzz'; the keys are a, b"
    assert unknown_key("zzz", map(str, range(99))) == "unknown key 'zzz'"
    assert [show(value) for value in (None, True, "a", 1)] == ["null", "true", "'a'", "1"]
    assert len(show("a" * 500)) == 80


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"inputs": ["x=float[3]"]}, "TFB1201"), ({"name": "my model"}, "TFB1003"), ({"tolerance": -1}, "TFB1103"),
        ({"inputs": ["x=float[3]"], "tolerance": -1}, "TFB1103"),
    ],
)  # fmt: skip
def test_problem_has_the_code_of_the_rule_that_is_broken(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(SpecError) as info:
        parse_spec({"models": [{"name": "net", "source": "net.onnx", **changes}]}, where="bundle.yaml")
    assert info.value.code == code
