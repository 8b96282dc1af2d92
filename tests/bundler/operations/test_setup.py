"""Installing onnx-tf into a folder of its own: real pip on wheelhouses, and each fault with its one message."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from filelock import FileLock
from onnx import TensorProto, helper

from bundler.converters import onnx_tf, onnx_tf_package
from bundler.converters.onnx_tf import OnnxTfConverter
from bundler.errors import ConversionError, SetupError, UsageError
from bundler.operations import setup
from bundler.process.cache import CACHE_ENV
from tests.bundler.cli.commands import run
from tests.requirements import require

NAME = "onnx_tf-1.10.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: onnx-tf\nVersion: 1.10.0\nRequires-Dist: tensorflow-addons\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path, files: dict[str, bytes]) -> str:
    """Write a wheel of onnx-tf with these files into a folder; return its hash."""
    info = "onnx_tf-1.10.0.dist-info"
    files = {**files, f"{info}/METADATA": METADATA.encode(), f"{info}/WHEEL": WHEEL.encode()}
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return hashlib.sha256((folder / NAME).read_bytes()).hexdigest()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a wheelhouse as the only source of packages."""
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "wheelhouse").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheelhouse"))
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small wheel in the wheelhouse, with the hash that is expected, and an import that only looks for a file of it."""
    files = {"onnx_tf/__init__.py": b"", "onnx_tf/backend.py": b"", "test/__init__.py": b"", "third_party/get_info.py": b""}
    monkeypatch.setattr(setup, "_SHA256", write_wheel(tmp_path / "wheelhouse", files))
    monkeypatch.setattr(onnx_tf, "check_import", check_files)


def check_files(folder: Path) -> None:
    """Stand for the import, which takes seconds; the slow test runs it."""
    if not (folder / "onnx_tf" / "backend.py").is_file():
        raise ConversionError("onnx-tf cannot be imported: no module named 'onnx_tf.backend'")


def leftovers(cache: Path) -> list[str]:
    """Return the names in the folder of the package, without the lock's file."""
    return sorted(path.name for path in (cache / "onnx-tf").iterdir() if path.name != ".lock")


@pytest.mark.usefixtures("wheel")
def test_the_package_alone_is_installed_once_and_repaired_if_files_are_missing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_USER", "1")  # pip refuses --user beside --target
    before = sorted(path.name for path in Path(onnx.__file__).parents[1].iterdir())
    printed = run("setup", "onnx-tf").stdout
    folder = cache / "onnx-tf" / "1.10.0"
    assert " ".join(printed.split()) == f"onnx-tf 1.10.0 is installed: {folder}"
    assert sorted(path.name for path in folder.iterdir()) == ["onnx_tf", "onnx_tf-1.10.0.dist-info"]
    assert sorted(path.name for path in Path(onnx.__file__).parents[1].iterdir()) == before
    assert onnx_tf_package.own_folder() == folder
    assert "is there already" in run("setup", "onnx-tf").stdout
    (folder / "onnx_tf" / "backend.py").unlink()
    assert not setup.set_up("onnx-tf").was_there
    assert (folder / "onnx_tf" / "backend.py").is_file()
    assert leftovers(cache) == ["1.10.0"]


def assert_refused(cache: Path, what: str, fix: str) -> None:
    """Assert that the command prints one error with this text and advice, and leaves nothing."""
    printed = " ".join(run("setup", "onnx-tf", code=1).stderr.split())
    assert printed.startswith(f"error TFB8003: {what}")
    assert fix in printed.partition("to do: ")[2]
    assert onnx_tf_package.own_folder() is None
    assert not cache.is_dir() or leftovers(cache) == []


def test_a_wheelhouse_without_the_wheel(cache: Path) -> None:
    what = f"pip found no wheel of onnx-tf 1.10.0 in {cache.parent / 'wheelhouse'}."
    assert_refused(cache, what, f"put {NAME} there")


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert_refused(cache, "pip cannot reach the package index.", "PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER tfbundle setup onnx-tf")


@pytest.mark.usefixtures("wheel")
def test_a_wheel_that_is_not_the_published_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_SHA256", 64 * "0")
    assert_refused(cache, "The file that pip found for onnx-tf 1.10.0 is not the one on PyPI", "from PyPI")


def test_a_package_that_cannot_be_imported(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_SHA256", write_wheel(tmp_path / "wheelhouse", {"onnx_tf/__init__.py": b""}))
    monkeypatch.setattr(onnx_tf, "check_import", check_files)
    assert_refused(cache, "onnx-tf 1.10.0 was downloaded, but does not work here and was removed", "tfbundle doctor")


def test_an_environment_without_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    assert_refused(cache, "pip, which installs the package, is not in this environment.", "uv pip install pip")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere except under /proc and below a file."""
    (tmp_path / "file").write_text("x")
    for folder in (Path("/proc/x"), tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv(CACHE_ENV, str(folder))
        with pytest.raises(SetupError, match=f"{folder}/onnx-tf cannot be written") as failure:
            setup.set_up("onnx-tf")
        assert "set TFBUNDLE_CACHE_DIR" in str(failure.value.fix)


def test_another_setup_at_the_same_time(cache: Path) -> None:
    (cache / "onnx-tf").mkdir(parents=True)
    with FileLock(cache / "onnx-tf" / ".lock"):
        assert_refused(cache, "Another tfbundle setup is running.", "wait")


def test_an_unknown_package_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"Unknown package 'onnx2tf'\.") as failure:
        setup.set_up("onnx2tf")
    assert failure.value.fix == "choose one of: onnx-tf"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("WARNING: x\nERROR: Could not install packages: [Errno 28] No space left on device\n\n", "No space left"),
        ("Something else\n", "Something else"),
        ("", "it printed nothing"),
    ],
)
def test_other_failures_of_pip_are_quoted(output: str, message: str) -> None:
    assert message in setup._pip_error(output).what


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]) -> None:
    def stop(folder: Path) -> None:
        raise interrupt

    monkeypatch.setattr(onnx_tf, "check_import", stop)
    with pytest.raises(interrupt):
        setup.set_up("onnx-tf")
    assert (onnx_tf_package.own_folder(), leftovers(cache)) == (None, [])


KILLED = """
import sys, time
from pathlib import Path
from bundler.converters import onnx_tf
from bundler.operations import setup

def wait(folder):
    Path(sys.argv[2]).touch()
    time.sleep(600)

setup._SHA256, onnx_tf.check_import = sys.argv[1], wait
setup.set_up("onnx-tf")
"""


@pytest.mark.usefixtures("wheel")
def test_what_a_killed_setup_leaves_is_not_used_and_the_next_removes_it(tmp_path: Path, cache: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, setup._SHA256, str(tmp_path / "reached")])
    wait_until((tmp_path / "reached").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [name[:5] for name in leftovers(cache)] == [".new-"]
    assert onnx_tf_package.own_folder() is None
    assert not setup.set_up("onnx-tf").was_there
    assert leftovers(cache) == ["1.10.0"]


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until a condition is met; fail after the time limit."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_conversion_finds_the_package_in_its_own_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is packed from the files of the package in this environment; Python then no longer finds those."""
    require(importlib.util.find_spec("onnx_tf"), "onnx-tf (pip install --no-deps onnx-tf==1.10.0)")
    names = [path for path in distribution("onnx-tf").files or () if path.parts[0] == "onnx_tf" and path.suffix == ".py"]
    files = {str(name): Path(str(name.locate())).read_bytes() for name in names}
    monkeypatch.setattr(setup, "_SHA256", write_wheel(tmp_path / "wheelhouse", files))
    assert not setup.set_up("onnx-tf").was_there
    hidden = tmp_path / "hidden" / "onnx_tf"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('the package of the environment')")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    value = helper.make_tensor_value_info
    sides = [value("x", TensorProto.FLOAT, [2, 3])], [value("y", TensorProto.FLOAT, [2, 3])]
    graph = helper.make_graph([helper.make_node("Elu", ["x"], ["y"])], "g", *sides)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), tmp_path / "elu.onnx")
    x = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    (want,) = onnxruntime.InferenceSession(tmp_path / "elu.onnx").run(None, {"x": x})
    model = OnnxTfConverter().convert({"serving_default": tmp_path / "elu.onnx"})
    np.testing.assert_allclose(model(x=x)["y"], want, rtol=1e-6, atol=1e-7)
