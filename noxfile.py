"""Tests in environments with other releases of the dependencies, all by `make compat`.

The sessions are `nox -s compat`, `nox -s tensorflow` and `nox -s runtimes` (mobile exports in other TFLite runtimes).
Arguments select environments: `nox -s compat -- torch-2.8`, `nox -s tensorflow -- 2.12`. Each environment is made by uv in a
temporary folder, with a cache of its own, and removed before the next one is made, since torch's CUDA packages take up to 9 GB.
The interpreters have to be on PATH: Python 3.10 to 3.13. Results go into docs/compatibility.md.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from benchmarks.compat import document  # noqa: E402
from benchmarks.compat.combinations import COMBINATIONS, LOADERS, TEST_PACKAGES, chosen  # noqa: E402

nox.options.sessions = ["compat", "tensorflow", "runtimes"]
nox.needs_version = ">=2025.2"

PYTEST = """
import contextlib, sys
with contextlib.suppress(ImportError):
    import triton
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
"""Runs pytest with triton imported first: triton 3.8 crashes Python if it is imported after TensorFlow 2.21."""

EXTRAS = ("build", "serve", "timm", "hf", "images", "demo")


class Environment:
    """A virtual environment in a temporary folder."""

    def __init__(self, session: nox.Session, folder: Path, python: str) -> None:
        self._session, self._folder = session, folder
        self.python = str(folder / "venv" / "bin" / "python")
        self._env = {"UV_CACHE_DIR": str(folder / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
        self._uv("venv", "--quiet", "--python", python, str(folder / "venv"))
        self.install_minutes = self.run_minutes = 0.0

    def _uv(self, *arguments: str) -> None:
        self._session.run(sys.executable, "-m", "uv", *arguments, env=self._env, external=True)

    def install(self, *requirements: str) -> None:
        """Install packages by one resolution, which fails if their declared ranges contradict each other."""
        start = time.monotonic()
        self._uv("pip", "install", "--quiet", "--python", self.python, *requirements)
        self.install_minutes += (time.monotonic() - start) / 60

    def run(self, *arguments: str, env: dict[str, str] | None = None, silent: bool = False) -> str:
        """Run Python with the arguments. A test that fails is no error here: the results say so."""
        start = time.monotonic()
        out = self._session.run(
            self.python, *arguments, external=True, silent=silent, success_codes=[0, 1], env={**self._env, **(env or {})}
        )
        self.run_minutes += (time.monotonic() - start) / 60
        return str(out)

    def size(self) -> int:
        """Return the bytes of all files in the environment."""
        return sum(path.lstat().st_size for path in (self._folder / "venv").rglob("*") if not path.is_symlink())


@contextmanager
def environment(session: nox.Session, python: str) -> Iterator[Environment]:
    """Make an environment, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tfbundle-compat-"))
    try:
        yield Environment(session, folder, python)
    finally:
        shutil.rmtree(folder)


@nox.session(venv_backend="none")
def compat(session: nox.Session) -> None:
    """Run the tests marked `compat` with each combination of releases."""
    by_name = {combination.name: combination for combination in COMBINATIONS}
    failed = []
    for name in chosen(session.posargs, list(by_name)):
        combination = by_name[name]
        with environment(session, combination.python) as env, tempfile.TemporaryDirectory() as work:
            pins = [f"{package}=={release}" for package, release in combination.pins.items()]
            env.install("-e", f".[{','.join(EXTRAS)}]", *pins, *TEST_PACKAGES)
            report = Path(work) / "junit.xml"
            # Releases differ in what they warn of, so that warnings are no errors here.
            env.run(
                "-c", PYTEST, "-q", "-m", "compat", "-W", "default", "-p", "no:cacheprovider", f"--junitxml={report}",
                *document.marked_files(),
                env={"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            row = document.environment_row(report, combination, env.size(), env.install_minutes, env.run_minutes)
        document.record("environments", name, row)
        failed += [name] * bool(row["failed"])
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session(venv_backend="none")
def tensorflow(session: nox.Session) -> None:
    """Load SavedModels that this environment builds in other TensorFlow releases."""
    by_name = {loader.name: loader for loader in LOADERS}
    arguments = [argument for argument in session.posargs if not argument.startswith("-")]
    options = [argument for argument in session.posargs if argument.startswith("-")]
    failed = []
    with tempfile.TemporaryDirectory() as work:
        session.run(
            sys.executable, "-m", "benchmarks.compat.saved_models", *options, work, env={"PYTHONPATH": str(ROOT)}, external=True
        )  # fmt: skip
        for name in chosen(arguments, list(by_name)):
            loader = by_name[name]
            with environment(session, loader.python) as env:
                env.install(f"tensorflow-cpu=={loader.tensorflow}", f"numpy{loader.numpy}")
                script = str(ROOT / "benchmarks" / "compat" / "load.py")
                printed = env.run(script, work, silent=True, env={"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})
                results = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
                row = document.loader_row(results, loader, env.size(), env.install_minutes)
            if not options:
                document.record("tensorflow", name, row)
            failed += [name] * bool(row["failed"])
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session(venv_backend="none")
def runtimes(session: nox.Session) -> None:
    """Run mobile exports on the oldest and the newest TFLite runtime that they name."""
    session.run(sys.executable, "-m", "benchmarks.compat.tflite_exports", env={"PYTHONPATH": str(ROOT)}, external=True)
