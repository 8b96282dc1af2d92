"""Installing the optional package onnx-tf into a folder of its own, with pip; nothing in the user's environment changes.

The package is installed into a hidden folder beside its place, imported there, and renamed. An interrupted installation leaves at
most the hidden folder, which nobody reads and which the next installation removes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bundler.converters import onnx_tf
from bundler.converters.onnx_tf_package import SETUP, VERSION, setup_folder
from bundler.errors import ConversionError, SetupError, UsageError
from bundler.process.cache import CACHE_ENV

PACKAGES = ("onnx-tf",)

_WHEEL = f"onnx_tf-{VERSION}-py3-none-any.whl"
_SHA256 = "0c0b92e8335db5634e895b8938418ce57ce80b62bb543fcc2564ff9c4a25cb0f"
"""Hash of the wheel on PyPI."""

_KEPT = ("onnx_tf", f"onnx_tf-{VERSION}.dist-info")
"""Parts of the wheel that are needed. Its other packages, `test` and `third_party`, would hide those of the same names."""

_HALF = ".new-"
_TIMEOUT_S = 600
_OPTIONS = (
    "--no-deps", "--no-user", "--only-binary", ":all:", "--require-hashes", "--no-input", "--no-compile",
    "--disable-pip-version-check", "--progress-bar", "off", "--retries", "1",
)  # fmt: skip

_NOT_REACHED = re.compile(r"Retrying \(Retry|Could not fetch URL|ConnectionError|ProxyError|NameResolutionError|timed out")
_SEARCHED = re.compile(r"Looking in (?:links|indexes): (.+)")


@dataclass(frozen=True)
class Installed:
    """The result of an installation.

    Attributes:
        folder: the folder with the package.
        version: its version.
        was_there: whether it was there before, and could be imported.
    """

    folder: Path
    version: str
    was_there: bool


def set_up(package: str) -> Installed:
    """Install a package into its own folder, unless it is there and can be imported.

    Raises:
        UsageError: there is no such package.
        SetupError: it could not be installed; the folder is as before.
    """
    if package not in PACKAGES:
        raise UsageError(f"Unknown package {package!r}.", fix=f"choose one of: {', '.join(PACKAGES)}", code="TFB8003")
    folder = setup_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock", timeout=0):
            return _set_up(folder)
    except Timeout as exc:
        raise SetupError("Another tfbundle setup is running.", fix="wait until it has ended", code="TFB8003") from exc
    except OSError as exc:
        raise SetupError(
            f"{folder.parent} cannot be written: {exc.strerror or exc}.",
            fix=f"make it writable, or set {CACHE_ENV} to a folder that is, for this command and for builds",
            code="TFB8003",
        ) from exc


def _set_up(folder: Path) -> Installed:
    for half in folder.parent.glob(f"{_HALF}*"):
        shutil.rmtree(half)
    if folder.is_dir():
        try:
            onnx_tf.check_import(folder)
        except ConversionError:
            shutil.rmtree(folder)  # files of it are missing or changed
        else:
            return Installed(folder, VERSION, was_there=True)
    if importlib.util.find_spec("pip") is None:
        raise SetupError(
            "pip, which installs the package, is not in this environment.",
            fix=f"{sys.executable} -m ensurepip (in an environment of uv: uv pip install pip), then {SETUP} again",
            code="TFB8003",
        )
    half = Path(tempfile.mkdtemp(prefix=_HALF, dir=folder.parent))
    try:
        _install(half)
        half.chmod(0o755)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Installed(folder, VERSION, was_there=False)


def _install(folder: Path) -> None:
    """Install the package into an empty folder and import it there.

    Raises:
        SetupError: pip failed, or the package cannot be imported.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"onnx-tf=={VERSION} --hash=sha256:{_SHA256}\n", "utf-8")
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "install", *_OPTIONS, "--target", str(target), "-r", str(requirement)]
    # PIP_PREFIX excludes --target, and an environment is not needed, as nothing is installed into one.
    environment = {key: value for key, value in os.environ.items() if key not in ("PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")}
    try:
        pip = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise SetupError(
            f"pip did not finish within {_TIMEOUT_S} s.", fix="check the network, and try again", code="TFB8003"
        ) from exc
    if pip.returncode:
        raise _pip_error(pip.stdout + pip.stderr)
    for name in _KEPT:
        (target / name).rename(folder / name)
    shutil.rmtree(target)
    requirement.unlink()
    try:
        onnx_tf.check_import(folder)
    except ConversionError as exc:
        raise SetupError(
            f"onnx-tf {VERSION} was downloaded, but does not work here and was removed: {exc.what}",
            fix="tfbundle doctor checks the packages that it needs",
            code="TFB8003",
        ) from exc


def _pip_error(output: str) -> SetupError:
    """Return the error for what pip printed."""
    if "DO NOT MATCH THE HASHES" in output:
        return SetupError(
            f"The file that pip found for onnx-tf {VERSION} is not the one on PyPI: its hash differs.",
            fix=f"remove it from the wheelhouse or the mirror, and put {_WHEEL} from PyPI there",
            code="TFB8003",
        )
    if _NOT_REACHED.search(output):
        return SetupError(
            "pip cannot reach the package index.",
            fix=f"check the network and the proxy; or get {_WHEEL} elsewhere (pip download --no-deps onnx-tf=={VERSION}), "
            f"and run PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER {SETUP}",
            code="TFB8003",
        )
    if "No matching distribution found" in output:
        searched = ", ".join(_SEARCHED.findall(output))
        return SetupError(
            f"pip found no wheel of onnx-tf {VERSION}" + (f" in {searched}." if searched else "."),
            fix=f"put {_WHEEL} there (pip download --no-deps onnx-tf=={VERSION}), or allow PyPI (PIP_NO_INDEX, PIP_INDEX_URL)",
            code="TFB8003",
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = (errors or lines or ["it printed nothing"])[-1]
    return SetupError(
        f"pip could not install onnx-tf {VERSION}: {last}", fix="correct that, and try again", code="TFB8003"
    )
