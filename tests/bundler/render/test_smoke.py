"""smoke/ of a bundle, run in an environment with only grpcio, protobuf and NumPy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

import serving
from bundler.bundle.layout import BundleLayout
from bundler.errors import VerifyError
from bundler.render import RenderContext, RenderedModel
from bundler.render import smoke as renderer
from bundler.spec.bundle_spec import parse_spec
from serving.launch.server_process import ServerEndpoints
from tests.serving import golden_data
from tests.serving.servers import small_server

PACKAGES = ("grpcio", "protobuf", "numpy")


@pytest.fixture(scope="session")
def bare_python(request: pytest.FixtureRequest) -> Path:
    """A Python with only three packages, kept between test runs."""
    pins = [f"{name}=={version(name)}" for name in PACKAGES]
    key = f"bare-python-{sys.version_info[0]}.{sys.version_info[1]}-" + "-".join(pins).replace("==", "-")
    folder = request.config.cache.mkdir(key)
    python = folder / "bin" / "python"
    ready = folder / "ready"
    with FileLock(folder.with_name(f"{key}.lock")):  # the test processes run side by side and share the folder
        if not ready.exists():
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "--no-input", *pins], check=True)
            ready.touch()
    return python


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


def make_context(**sections: object) -> RenderContext:
    models = (RenderedModel("affine", (1, 2), 1000), RenderedModel("echo", (7,), 1000))
    return RenderContext("demo", parse_spec(sections, where="the test"), models)


def make_bundle(folder: Path) -> Path:
    golden_data.save(folder / "golden", golden_data.affine(1), 1)
    golden_data.save(folder / "golden", golden_data.affine(2), 2)
    golden_data.save(folder / "golden", golden_data.echo(), 7)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = make_bundle(tmp_path)
    renderer.render(make_context(), folder)
    return folder


def smoke(
    python: Path | str, bundle: Path, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [str(python), str(bundle / "smoke" / "smoke_test.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd or bundle, env={})


def test_rendering_returns_exactly_the_written_files(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    before = {path for path in folder.rglob("*") if path.is_file()}
    written = renderer.render(make_context(), folder)
    after = {path for path in folder.rglob("*") if path.is_file()}
    assert len(set(written)) == len(written)
    assert set(written) == after - before
    assert all(path.is_relative_to(BundleLayout(folder).smoke_dir) for path in written)


def test_the_package_is_a_copy_of_the_installed_modules(bundle: Path) -> None:
    source = Path(serving.__file__).parent
    copied = bundle / "smoke" / "serving"
    for name in renderer.PACKAGE_FILES:
        assert (copied / name).read_bytes() == (source / name).read_bytes(), name


def test_golden_data_of_the_served_versions_is_included(tmp_path: Path) -> None:
    def included(name: str, **serving: object) -> list[str]:
        folder = make_bundle(tmp_path / name)
        renderer.render(make_context(serving=serving), folder)
        golden = folder / "smoke" / "golden"
        return sorted(path.relative_to(golden).as_posix() for path in golden.rglob("*.npz"))

    assert included("latest") == ["affine/2.npz", "echo/7.npz"]
    assert included("chosen", versions={"affine": [1]}) == ["affine/1.npz", "echo/7.npz"]
    assert included("labels", labels={"affine": {"stable": 1}}) == ["affine/1.npz", "affine/2.npz", "echo/7.npz"]


def test_missing_golden_data_is_an_error(tmp_path: Path) -> None:
    golden_data.save(tmp_path / "golden", golden_data.affine(2), 2)
    with pytest.raises(VerifyError, match="golden data of the model 'echo', version 7, is missing"):
        renderer.render(make_context(), tmp_path)


def test_smoke_test_passes_in_a_bare_environment_and_leaves_the_bundle_unchanged(
    bare_python: Path, endpoints: ServerEndpoints, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = "from importlib.util import find_spec as f; print([n for n in ('tensorflow', 'torch', 'serving') if f(n)])"
    elsewhere = tmp_path_factory.mktemp("empty")
    done = subprocess.run([bare_python, "-c", script], capture_output=True, text=True, check=True, cwd=elsewhere)
    assert done.stdout.strip() == "[]"
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    done = smoke(bare_python, bundle, endpoints.grpc_target, "--rest", f"127.0.0.1:{endpoints.rest_port}", cwd=Path("/"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert "passed  gRPC echo version 7: predict echo_bfloat16 one" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("PASSED: ")
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


def test_a_failure_names_output_expected_and_actual_value(bare_python: Path, bundle: Path) -> None:
    with small_server("--weight", "1.01") as endpoints:
        done = smoke(bare_python, bundle, endpoints.grpc_target, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["passed"] is False
    [first, *_] = [check for check in report["checks"] if check["outcome"] == "failed"]
    assert "output 'y' at [0, " in first["message"]
    assert "expected " in first["message"]
    assert ", got " in first["message"]


@pytest.mark.slow
def test_smoke_test_takes_less_than_a_second(bare_python: Path, endpoints: ServerEndpoints, bundle: Path) -> None:
    times: list[float] = []
    while len(times) < 8 and min(times, default=1.0) >= 1.0:  # repeated in case the machine is busy
        start = time.perf_counter()
        assert smoke(bare_python, bundle, endpoints.grpc_target).returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0, times


def test_a_missing_package_is_reported_with_its_install_command(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("no-packages")
    venv.create(empty, with_pip=False)
    done = smoke(empty / "bin" / "python", bundle, "localhost:1")
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert f"pip install -r {bundle / 'smoke' / 'requirements.txt'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_requirements_match_the_projects(bundle: Path) -> None:
    text = (bundle / "smoke" / "requirements.txt").read_text()
    project = (Path(serving.__file__).parents[1] / "pyproject.toml").read_text()
    for name in PACKAGES:
        [line] = [line for line in text.splitlines() if line.startswith(name)]
        assert f'"{line}"' in project
