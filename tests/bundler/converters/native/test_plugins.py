"""The user's handlers: loaded from files and packages, rejected if wrong, and in force for one conversion only."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import bundler
from bundler.converters.native import declarations, plugins
from bundler.errors import ConversionError, SourceError, UnsupportedOpsError, UsageError

SHRINK = """
import tensorflow as tf
from bundler.ops import Layout, op

@op("SoftShrink", domain="mylib", torch="mylib::soft_shrink", layout=Layout.ELEMENTWISE)
def soft_shrink(x, *, lambd=0.5):
    return tf.sign(x) * tf.maximum(tf.abs(x) - lambd, 0.0)
"""


@pytest.fixture
def shrink(tmp_path: Path) -> Path:
    path = tmp_path / "shrink_ops.py"
    path.write_text(SHRINK)
    return path


def model(op_type: str = "SoftShrink", domain: str = "mylib", outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    """x float32 [batch, 3] -> the operator -> y."""
    names = [f"y{index}" if index else "y" for index in range(outputs)]
    x, *ys = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", *names))
    node = helper.make_node(op_type, ["x"], names, "the_node", domain=domain, **attributes)
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(helper.make_graph([node], "g", [x], ys), opset_imports=opsets, ir_version=10)


X = np.array([[-2.0, 0.1, 1.0], [0.5, -0.25, 3.0]], np.float32)
WANT = np.array([[-1.75, 0.0, 0.75], [0.25, 0.0, 2.75]], np.float32)


def convert_and_run(path: Path | list[Path], proto: onnx.ModelProto) -> np.ndarray[Any, Any]:
    got = bundler.convert(proto, ops=path)(x=X)["y"].numpy()
    assert isinstance(got, np.ndarray)
    return got


def test_a_handler_of_a_file_lowers_its_operator(shrink: Path) -> None:
    got = convert_and_run(shrink, model(lambd=0.25))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, WANT)


def test_handlers_do_not_remain_for_the_next_conversion(shrink: Path) -> None:
    convert_and_run(shrink, model(lambd=0.25))
    with pytest.raises(UnsupportedOpsError, match="mylib::SoftShrink"):
        bundler.convert(model())


def test_a_file_is_run_anew_for_each_conversion(shrink: Path) -> None:
    np.testing.assert_array_equal(convert_and_run([shrink, shrink], model(lambd=0.25)), WANT)
    shrink.write_text(SHRINK.replace("- lambd", "- 2 * lambd"))
    np.testing.assert_array_equal(convert_and_run(shrink, model(lambd=0.125)), WANT)


def test_handlers_of_an_imported_module_count(tmp_path: Path, shrink: Path) -> None:
    """The module is imported once per process, but its handlers take part in every build."""
    for text in ("import shrink_ops", "from shrink_ops import soft_shrink"):
        main = tmp_path / "main_ops.py"
        main.write_text(text)
        for _ in range(2):
            np.testing.assert_array_equal(convert_and_run(main, model(lambd=0.25)), WANT)
    del sys.modules["shrink_ops"]


def test_a_handler_may_take_the_context_and_return_several_outputs(tmp_path: Path) -> None:
    path = tmp_path / "both.py"
    path.write_text(
        "from bundler.ops import Context, Value, op\n"
        "@op('Both', domain='mylib')\n"
        "def both(ctx: Context, x):\n"
        "    assert ctx.node.name == 'the_node'\n"
        "    return x + 1.0, x * 2.0\n"
    )
    got = bundler.convert(model("Both", outputs=2), ops=str(path))(x=X)
    np.testing.assert_array_equal(got["y"].numpy(), X + 1)
    np.testing.assert_array_equal(got["y1"].numpy(), X * 2)


def write(folder: Path, body: str, name: str = "my_ops.py") -> Path:
    path = folder / name
    path.write_text("import tensorflow as tf\nfrom bundler.ops import Layout, op\n" + body)
    return path


RELU = "@op('Relu'{more})\ndef my_relu(x):\n    return x * 5.0\n"


def test_replacing_a_built_in_handler_needs_override(tmp_path: Path) -> None:
    plain = write(tmp_path, RELU.format(more=""))
    with pytest.raises(UsageError) as caught:
        bundler.convert(model("Relu", ""), ops=plain)
    assert "my_ops.py:my_relu handles ai.onnx::Relu" in caught.value.what
    assert "bundler.converters.native.ops.elementwise:" in caught.value.what
    assert f"{plain}:3" in str(caught.value.where)
    assert "override=True" in str(caught.value.fix)
    overriding = write(tmp_path, RELU.format(more=", override=True"))
    np.testing.assert_array_equal(convert_and_run(overriding, model("Relu", "")), X * 5)
    np.testing.assert_array_equal(bundler.convert(model("Relu", ""))(x=X)["y"].numpy(), np.maximum(X, 0))


def test_an_override_for_newer_opsets_does_not_apply_to_older_ones(tmp_path: Path) -> None:
    path = write(tmp_path, RELU.format(more=", override=True, since=22"))
    np.testing.assert_array_equal(convert_and_run(path, model("Relu", "")), np.maximum(X, 0))


def test_a_second_file_needs_override_too(tmp_path: Path, shrink: Path) -> None:
    other = tmp_path / "other_ops.py"
    other.write_text(SHRINK.replace("def soft_shrink", "def mine"))
    with pytest.raises(UsageError, match=r"other_ops.py:mine handles mylib::SoftShrink, which shrink_ops.py:soft_shrink"):
        bundler.convert(model(), ops=[shrink, other])
    other.write_text(SHRINK.replace("def soft_shrink", "def mine").replace('domain="mylib"', 'domain="mylib", override=True'))
    assert plugins.load([str(shrink), str(other)], base=tmp_path).handlers.find("SoftShrink", "mylib", 21)


@pytest.mark.parametrize(
    ("body", "error", "what", "line"),
    [
        ("x = = 1\n", SourceError, "SyntaxError", 3),
        ("import nothing_of_this_name\n", SourceError, "ModuleNotFoundError", 3),
        ("1 / 0\n", SourceError, "ZeroDivisionError", 3),
        ("exit(3)\n", SourceError, "SystemExit", 3),
        ("def soft_shrink(x): return x\n", SourceError, "declares no handler", None),
        ("@op()\ndef f(x): return x\n", SourceError, "name the operator", 3),
        ("@op('A', domain='d', static=('k',))\ndef f(x): return x\n", SourceError, "static names", 3),
        ("@op('A', domain='d', torch='d.a')\ndef f(x): return x\n", SourceError, "torch='d.a'", 3),
        ("@op('A', 'B', domain='d', torch='d::a')\ndef f(x): return x\n", SourceError, "one PyTorch operator", 3),
        ("@op('SoftShrink')\ndef f(x): return x\n", UsageError, "not an ONNX operator", 3),
        ("@op('SwiGLU')\ndef f(x): return x\n", UsageError, "never reaches a handler", 3),
        ("@op('A', domain='d')\ndef f(x): return x\n@op('A', domain='d')\ndef g(x): return x\n", UsageError,
         "my_ops.py:g handles d::A, which my_ops.py:f already handles", 5),
    ],
)  # fmt: skip
def test_wrong_files_are_rejected_with_the_users_line(
    tmp_path: Path, body: str, error: type[Exception], what: str, line: int | None
) -> None:
    path = write(tmp_path, body)
    with pytest.raises(error) as caught:
        plugins.load(["my_ops.py"], base=tmp_path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)
    if line:
        assert f"{path}:{line}" in str(caught.value)


def test_paths_that_are_not_python_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    for name, what in {"nothing.py": "does not exist", "text.txt": "not a Python file", ".": "is a folder"}.items():
        with pytest.raises(SourceError, match=what):
            plugins.load([name], base=tmp_path)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("def soft_shrink(x, *, lambd=0.5):\n    return x.no_such_thing\n", "AttributeError"),
        ("def soft_shrink(x, *, lambd=0.5):\n    return undefined(x)\n", "NameError"),
        ("def soft_shrink(x, *, lambd=0.5):\n    raise tf.errors.InvalidArgumentError(None, None, 'odd')\n", "odd"),
        ("def soft_shrink(x, *, lambd=0.5):\n    pass\n", "nothing for output 0"),
        ("def soft_shrink(*, lambd=0.5):\n    return lambd\n", "takes at most 0"),
        ("def soft_shrink(x):\n    return x\n", "'lambd', which its handler my_ops.py:soft_shrink does not take"),
    ],
)
def test_errors_in_a_handler_name_the_handler_and_the_node(tmp_path: Path, body: str, what: str) -> None:
    path = write(tmp_path, "@op('SoftShrink', domain='mylib')\n" + body)
    with pytest.raises(ConversionError) as caught:
        bundler.convert(model(lambd=0.25), ops=path)
    assert what in caught.value.what
    assert "my_ops.py:soft_shrink" in caught.value.what
    assert "the_node" in str(caught.value.where)
    if "Error" in what:
        assert f"{path}:5" in caught.value.what


class Package:
    """An installed distribution with one entry point for handlers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        monkeypatch.syspath_prepend(str(folder))
        info = folder / "shrinkage-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shrinkage\nVersion: 1.2\n")
        self._entries = info / "entry_points.txt"

    def install(self, value: str, module: str, body: str) -> None:
        (self._folder / f"{module}.py").write_text(body)
        self._entries.write_text(f"[tfbundle.ops]\nshrink = {value}\n")
        importlib.invalidate_caches()
        plugins.installed.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    plugins.installed.cache_clear()
    yield Package(folder, monkeypatch)
    for name in set(sys.modules) - before:
        if name.startswith("shrinkage"):
            del sys.modules[name]
            declarations.forget(name)
    plugins.installed.cache_clear()


def test_handlers_of_a_package_apply_to_every_conversion(package: Package, shrink: Path) -> None:
    package.install("shrinkage_a", "shrinkage_a", SHRINK)
    for _ in range(2):
        np.testing.assert_array_equal(bundler.convert(model(lambd=0.25))(x=X)["y"].numpy(), WANT)
    extension = plugins.find([], base=Path())
    assert extension is not None
    assert extension.provenance == ({"package": "shrinkage", "version": "1.2", "entry_point": "shrinkage_a"},)
    with pytest.raises(UsageError, match="which shrinkage:soft_shrink already handles"):
        bundler.convert(model(), ops=shrink)


def test_an_entry_point_may_be_a_function(package: Package) -> None:
    body = SHRINK.replace("\n@op", "\ndef register():\n    op").replace("ELEMENTWISE)\n", "ELEMENTWISE)(soft_shrink)\n")
    package.install("shrinkage_b:register", "shrinkage_b", body)
    np.testing.assert_array_equal(bundler.convert(model(lambd=0.25))(x=X)["y"].numpy(), WANT)


@pytest.mark.parametrize(
    ("value", "body", "what"),
    [
        ("shrinkage_c", "import nothing_of_this_name", "handlers of the package shrinkage .* ModuleNotFoundError"),
        ("shrinkage_c:missing", "", "AttributeError"),
        ("shrinkage_c", "", "shrinkage declares no handler"),
    ],
)
def test_wrong_packages_are_rejected(package: Package, value: str, body: str, what: str) -> None:
    package.install(value, "shrinkage_c", body)
    with pytest.raises(SourceError, match=what):
        bundler.convert(model())


def test_an_onnx_file_that_onnx_runtime_cannot_run_is_not_built(tmp_path: Path, shrink: Path) -> None:
    onnx.save(model(), str(tmp_path / "net.onnx"))
    with pytest.raises(SourceError) as caught:
        bundler.build(tmp_path / "net.onnx", out=tmp_path / "x", ops=shrink)
    assert "cannot be verified: ONNX Runtime has no kernel for mylib:SoftShrink" in caught.value.what
    assert "bundler.convert" in str(caught.value.fix)


def test_the_spec_schema_has_a_list_of_ops() -> None:
    from bundler.spec.bundle_spec import BundleSpec

    row = BundleSpec.json_schema()["$defs"]["ModelSpec"]["properties"]["ops"]
    assert row["type"] == "array"
    assert json.dumps(row["items"]) == '{"type": "string"}'
