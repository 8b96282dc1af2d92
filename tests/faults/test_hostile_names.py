"""Names of tensors, classes and files that break formats: every page, table, program and terminal shows them as they are."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import bundler
from bundler.bundle.schema import read_manifest
from bundler.errors import SourceError, UsageError, VerifyError
from bundler.mobile import ExportOptions, export_mobile
from bundler.mobile.exported import ExportedModel
from bundler.mobile.metadata import Labels
from bundler.mobile.model import MobileModel, MobileVariant
from bundler.mobile.readme import readme
from bundler.render import tf_serving
from bundler.validation.bundle import Bundle
from bundler.values.signature import Signature, TensorSpec
from serving.texts import is_printable
from tests import chromium
from tests.bundler.cli.commands import run
from tests.bundler.mobile.literals import read_kotlin, read_swift
from tests.bundler.mobile.models import assert_cpp_compiles, run_exported, run_golden_test, write_code
from tests.bundler.render.report.pages import Page, make_manifest, page_of, with_manifest
from tests.faults.hostile import STRINGS
from tests.faults.shapes import html_shape, markdown_shape
from tests.requirements import require, require_program

NAMES = sorted({text for text in STRINGS if text.strip() and is_printable(text)})
EVIL = "<img src=x onerror=document.title=1>'\"`|&*_[x](javascript:1) {{7*7}} ${x} \\(y) größe 😀"
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def mobile_model(names: list[str], source: str) -> MobileModel:
    inputs = tuple(TensorSpec(name, "float32", (1, 3)) for name in names)
    outputs = tuple(TensorSpec(f"{name} out", "float32", (1, 3)) for name in names)
    variant = MobileVariant("float32", Path("m.tflite"), inputs, outputs, {1: 1.0}, {"ADD": 1}, "not known")
    return MobileModel("net", 1, source, Signature(inputs, outputs), (variant,))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = Labels(f"{NAMES[0]} out", ("a", "b", "c"))
    return write_code(mobile_model(NAMES, EVIL), labels, tmp_path_factory.mktemp("programs"))


def test_python_program_has_every_name_as_a_string(programs: Path) -> None:
    tree = ast.parse((programs / "python/net.py").read_text("utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(NAMES) <= texts
    ast.parse((programs / "python/test_net.py").read_text("utf-8"))


@pytest.mark.parametrize(("path", "read"), [("kotlin/NetModelSpec.kt", read_kotlin), ("swift/NetModelSpec.swift", read_swift)])
def test_kotlin_and_swift_programs_have_every_name_as_a_string(path: str, read: Any, programs: Path) -> None:
    program = (programs / path).read_text("utf-8")
    texts = [read(literal) for literal in _LITERAL.findall(program)]
    assert {*NAMES, *(f"{name} out" for name in NAMES)} <= set(texts)
    code = _LITERAL.sub("", program)
    assert code.isascii() and code.count("{") == code.count("}")


def test_cpp_program_compiles(programs: Path) -> None:
    assert (programs / "cpp/net.h").read_bytes().isascii()
    assert_cpp_compiles(programs / "cpp/net.cc")


def test_javascript_reads_every_name(programs: Path) -> None:
    passed, text = run_golden_test("js", programs, "net")
    assert passed, text
    node = require_program("node", install="apt-get install nodejs")
    code = "import {VARIANTS} from './net.mjs'; console.log(JSON.stringify(VARIANTS.float32.inputs.map((t) => t.name)))"
    done = subprocess.run([node, "--input-type=module", "-e", code], cwd=programs / "js", capture_output=True, check=True)
    assert json.loads(done.stdout) == NAMES


def overview(names: list[str], text: str, folder: Path, file: Path) -> str:
    model = mobile_model(names, text)
    variant = replace(model.variants[0], accuracy=text, operators={text: 1}, scales=dict.fromkeys(names, (0.5, 1)))
    (folder / "net.tflite").write_bytes(file.read_bytes())
    labels = Labels(names[0], (text,), file="labels.txt")
    exported = ExportedModel(replace(model, variants=(variant,)), labels, {"float32": "net.tflite"}, ("python/net.py",))
    return readme(text, folder, [exported])


def test_readme_for_apps_has_the_same_structure_for_every_name(tmp_path: Path, small_bundle: Path) -> None:
    file = small_bundle / "tflite/mlp/1/mlp-float32.tflite"
    usual = markdown_shape(overview([f"n{i}" for i, _ in enumerate(NAMES)], "usual", tmp_path, file))
    for text in (*NAMES[::10], EVIL):
        assert markdown_shape(overview(NAMES, text, tmp_path, file)) == usual, text


@pytest.mark.parametrize("text", [*NAMES[::6], EVIL])
def test_report_has_the_same_structure_for_every_string(text: str, tmp_path: Path) -> None:
    usual = page_of(with_manifest(hostile_manifest("usual")), tmp_path)
    page = page_of(with_manifest(hostile_manifest(text)), tmp_path)
    assert html_shape(page) == html_shape(usual)
    assert Page(page).text.count(text) > 20


def hostile_manifest(text: str) -> dict[str, Any]:
    """Return a bundle.json with the text in every place of its records that the report accepts it in."""
    manifest = make_manifest()
    record = manifest["models"]["digits"]["versions"]["3"]
    for holder, key in list(places(record)):
        before = holder[key]
        holder[key] = text
        try:
            read_manifest(manifest)
        except VerifyError:
            holder[key] = before
    return manifest


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each string in JSON, with what holds it; verdicts, times and names that figures are looked up by stay."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        if isinstance(member, str) and key not in ("verdict", "created", "runtime", "data", "dtype"):
            yield value, key
        else:
            yield from places(member)


def test_browser_runs_no_script_of_a_name(tmp_path: Path) -> None:
    require(not chromium.missing(), chromium.missing())
    page_of(with_manifest(hostile_manifest(EVIL)), tmp_path)
    address = (tmp_path / "report.html").as_uri()
    with chromium.chromium(tmp_path / "profile") as browser:
        chromium.requested(browser)
        browser.get(address)
        assert browser.title == "demo: bundle report"
        assert EVIL in browser.find_element("tag name", "body").text
        assert chromium.requested(browser) == [address]
        assert chromium.console(browser) == []


def test_readme_of_serving_has_the_same_structure_for_every_label(tmp_path: Path) -> None:
    texts = []
    for label in ("stable", "a-b_c.d"):
        tf_serving.render(with_manifest(make_manifest(), labels={"digits": {label: 1}}), tmp_path)
        texts.append((tmp_path / "serving" / "README.md").read_text("utf-8"))
    assert markdown_shape(texts[0]) == markdown_shape(texts[1])
    assert "a-b_c.d = 1" in texts[1]


def save_onnx(path: Path, first: str, second: str, output: str, dim: str = "batch") -> Path:
    """Write the model `first - second`."""
    specs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [dim, 3]) for name in (first, second, output)]
    graph = helper.make_graph([helper.make_node("Sub", [first, second], [output])], "g", specs[:2], specs[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x1b[31m", "\u202e", "\u200b"])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_name_that_cannot_be_shown_is_refused_when_a_file_is_read(name: str, place: int, tmp_path: Path) -> None:
    names = ["x", "y", "z", "batch"]
    names[place] = name
    path = save_onnx(tmp_path / "net.onnx", *names)
    with pytest.raises(SourceError, match="cannot be shown") as caught:
        bundler.build(path, out=tmp_path / "dist")
    assert caught.value.fix and is_printable(caught.value.what)
    with pytest.raises(UsageError, match="cannot be shown"):
        bundler.convert(path)
    assert not (tmp_path / "dist").exists()
    shown = run("inspect", path)
    assert all(map(is_printable, shown.output.splitlines()))


def test_bundle_of_odd_names_is_built_verified_and_exported(tmp_path: Path) -> None:
    names = (EVIL, "a b\\c:0", "../ou\"t'/😀")
    path = save_onnx(tmp_path / "net.onnx", *names)
    out = tmp_path / "a bundle's $folder"
    built = run("build", path, "-o", out, "--tflite", "float32")
    assert "Next:   tfbundle serve '" in built.stdout
    run("verify", out)
    assert json.loads(run("inspect", out, "--json").stdout)["models"]["net"]["versions"]["1"]["signatures"]
    mobile = tmp_path / "mobile"
    export_mobile(Bundle.open(out), mobile, ExportOptions())
    assert run_golden_test("python", mobile, "net")[0]
    code = f"import net, numpy as np; x = np.float32([[1, 2, 3]]); print(net.NetModel()(x, 3 * x)[{names[2]!r}].tolist())"
    assert json.loads(run_exported(mobile, code)) == [[-2.0, -4.0, -6.0]]
    assert EVIL in Page((out / "report.html").read_text("utf-8")).text


ARGUMENTS = [
    ("build", "\x1b[31m.onnx"), ("build", "\u202e.py:f"),
    ("build", "net.onnx", "--input", "\x1b=float32[1]"), ("build", "net.onnx", "--name", "a\x1b"),
    ("build", "net.onnx", "--\x1b[31m"), ("build", "net.onnx", "--opset", "\x1b"), ("build", "a\nb.yaml"),
    ("build", "\udcff.yaml"), ("inspect", "\x1b[2J"), ("verify", "a\r\x1bb"), ("promote", "\x1b"), ("\x1b[31m",),
    ("serve", "\x1b", "--\x1b=1"), ("serve", "--port=\x1b"), ("smoke", "\x1b", "--bundle", "x"),
    ("ops", "\x1b[31m"), ("render", ".", "\x1b"), ("export-mobile", "\x1b", "-o", "x"),
    ("init", "-o", "/dev/null/\x1b"), ("bench", "\x1b", "--bundle", "."),
]  # fmt: skip


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda arguments: " ".join(arguments).encode("unicode_escape").decode())
def test_no_argument_reaches_the_terminal_raw(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from bundler.cli.app import app

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (1, 2), result.output
    assert "Unexpected" not in result.output and result.output.strip()
    assert all(map(is_printable, result.output.splitlines()))
