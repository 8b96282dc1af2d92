"""Commands and functions of the build side without the packages of the extras: one sentence, and no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.errors import MissingExtraError, TfbundleError
from bundler.process.extras import explained, require
from serving import extras
from tests.hidden import extras_modules, run_without

ALL = extras_modules("build", "timm", "hf", "demo", "images", "plots")

NEEDS = {
    "build model.py:make -o OUT": "tfbundle[build]",
    "build timm:resnet18 -o OUT": "tfbundle[timm]",
    "build hf:folder -o OUT": "tfbundle[hf]",
    "build model.onnx -o OUT": "tfbundle[onnx]",
    "build model.onnx --dry-run": "tfbundle[onnx]",
    "ops": "tfbundle[onnx]",
    "verify BUNDLE": "tfbundle[serve]",
    "inspect BUNDLE/tflite/mlp/1/mlp-float32.tflite": "tfbundle[serve]",
    "inspect BUNDLE/onnx/mlp/1.onnx": "tfbundle[onnx]",
    "serve BUNDLE": "tfbundle[serve]",
    "launch BUNDLE --check": "tfbundle[serve]",
    "bench --bundle BUNDLE --advise OUT": "tfbundle[serve]",
    "export-mobile BUNDLE -o OUT": "tfbundle[serve]",
    "demo -o OUT": "tfbundle[demo]",
}
"""Commands that need an extra, and the extra that their sentence names."""

WORK = (
    "--help", "--version", "inspect BUNDLE", "inspect BUNDLE/models/mlp/1", "verify BUNDLE --no-parity", "smoke --help",
    "bench --help", "promote BUNDLE --model mlp --label stable --version 1", "render BUNDLE", "init -y -o OUT/bundle.yaml",
    "launch --help", "doctor --no-build",
)  # fmt: skip
"""Commands that the plain package has."""

RUN = """
import json
from typer.testing import CliRunner
from bundler.cli.app import app

results = {}
for command in sys.argv[1:]:
    done = CliRunner().invoke(app, command.split())
    results[command] = (done.exit_code, done.output)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return (exit code, output) of every command in a process that can import only what the plain package requires."""
    import shutil

    work = tmp_path_factory.mktemp("plain")
    shutil.copytree(small_bundle, work / "bundle")
    (work / "out").mkdir()
    places = {"BUNDLE": str(work / "bundle"), "OUT": str(work / "out")}

    def at(command: str) -> str:
        for name, place in places.items():
            command = command.replace(name, place)
        return command

    answers = run_without(ALL, RUN, *map(at, (*NEEDS, *WORK)))
    return {command: answers[at(command)] for command in (*NEEDS, *WORK)}


@pytest.mark.parametrize("command", NEEDS)
def test_command_without_its_extra_says_what_to_install(command: str, results: dict[str, Any]) -> None:
    code, output = results[command]
    assert code == 2, output
    assert "not installed" in output and f"to do: pip install '{NEEDS[command]}'" in output
    assert "Traceback" not in output and "Unexpected" not in output


@pytest.mark.parametrize("command", WORK)
def test_command_of_the_plain_package_needs_no_extra(command: str, results: dict[str, Any]) -> None:
    code, output = results[command]
    assert code == 0, output


def test_python_functions_without_their_extra_say_what_to_install() -> None:
    code = """
import json, bundler
found = []
def attempt(call):
    try:
        call()
    except bundler.errors.TfbundleError as exc:
        found.append([type(exc).__name__, exc.fix])
attempt(lambda: bundler.build("model.py:make"))
attempt(lambda: bundler.build(object(), out="x"))
attempt(lambda: bundler.build("model.onnx"))
attempt(lambda: bundler.convert("model.onnx"))
attempt(lambda: __import__("bundler.ops"))
print(json.dumps(found))
"""
    wanted = ["build", "build", "onnx", "onnx", "onnx"]
    assert run_without(ALL, code) == [["MissingExtraError", f"pip install 'tfbundle[{extra}]'"] for extra in wanted]


def test_onnx_file_is_loaded_and_exported_without_torch(mlp_onnx: Path, tmp_path: Path) -> None:
    code = """
import json
from pathlib import Path
from bundler.export.stage import export
from bundler.sources import load
from bundler.spec.bundle_spec import ModelSpec
spec = ModelSpec(name="mlp", source=sys.argv[1])
(signature,) = export(load(spec, base=Path()), spec, Path(sys.argv[2]))
print(json.dumps([signature.name, "torch" in sys.modules]))
"""
    hidden = extras_modules("build", "timm", "hf") - extras_modules("onnx")
    assert run_without(hidden, code, mlp_onnx, tmp_path) == ["serving_default", False]


@pytest.mark.slow
def test_onnx_file_is_built_with_quantized_variants_without_torch(mlp_onnx: Path, tmp_path: Path) -> None:
    code = """
import json
import numpy as np
import bundler
np.savez(sys.argv[2] + "/x.npz", x=np.random.default_rng(0).normal(size=(64, 4)).astype("float32"))
variants = ("float32", "float16", "int8")
bundle = bundler.build(sys.argv[1], out=sys.argv[2] + "/out", tflite=variants, calibration=sys.argv[2] + "/x.npz")
record = bundle.record("mlp", 1)
print(json.dumps([sorted(record["tflite"]), [str(p) for p in bundle.verify() if p.serious], "torch" in sys.modules]))
"""
    hidden = extras_modules("build", "timm", "hf") - extras_modules("onnx")
    assert run_without(hidden, code, mlp_onnx, tmp_path) == [["float16", "float32", "int8"], [], False]


def test_alternative_is_named_beside_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "aiohttp")
    with pytest.raises(MissingExtraError) as failure:
        require("serve", "It", otherwise="use --runner docker")
    assert isinstance(failure.value, TfbundleError)
    assert failure.value.fix == "pip install 'tfbundle[serve]', or use --runner docker"


def test_failed_import_of_a_package_of_no_extra_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explained(ImportError("no", name="no_such_module"), "It") is None
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    error = explained(ImportError("no", name="safetensors.torch"), "It")
    assert error is not None and error.extra == "build"
