"""Virtual environments of the peers that cannot share ours, made on first use, and a cache of everything that is made."""

from __future__ import annotations

import os
import platform
import re
import shutil
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.support.common import CACHE, BenchmarkError, run

ONNX2TF = "1.29.24"
LITERT_TORCH = "0.10.0"
OPENVINO, NNCF = "2026.4.1", "3.4.0"


@dataclass(frozen=True)
class Environment:
    """A virtual environment of a peer, made on first use (0.5 to 2 GB).

    Attributes:
        folder: where it is.
        requirements: what pip installs.
        check: a command of its `bin` folder that shows that the peer works.
    """

    folder: Path
    requirements: tuple[str, ...]
    check: tuple[str, ...]

    @property
    def ready(self) -> Path:
        return self.folder / "ready"

    def command(self, name: str) -> str:
        """Return the path of a command of the environment, which is made if it does not exist."""
        once(self.ready, self._install)
        return str(self.folder / "bin" / name)

    def _install(self, marker: Path) -> None:
        venv.create(self.folder, with_pip=True, clear=False)
        run([str(self.folder / "bin" / "pip"), "install", "--quiet", *self.requirements])
        run([str(self.folder / "bin" / self.check[0]), *self.check[1:]])
        marker.touch()


ENVIRONMENTS = {
    "onnx2tf": Environment(
        CACHE / f"onnx2tf-{ONNX2TF}-python-{platform.python_version()}", (f"onnx2tf=={ONNX2TF}",), ("onnx2tf", "--version")
    ),
    # With our own torch, whose files it reads. Without the pin, pip installs the newest torch, with gigabytes of CUDA.
    "litert-torch": Environment(
        CACHE / f"litert-torch-{LITERT_TORCH}-torch-{version('torch')}-python-{platform.python_version()}",
        (f"litert-torch=={LITERT_TORCH}", f"torch=={version('torch').partition('+')[0]}"),
        ("python", "-c", "import litert_torch"),
    ),
    "openvino": Environment(
        CACHE / f"openvino-{OPENVINO}-nncf-{NNCF}-python-{platform.python_version()}",
        (f"openvino=={OPENVINO}", f"nncf=={NNCF}", "numpy", "psutil"),
        ("python", "-c", "import nncf, openvino"),
    ),
}


def installed(peer: str) -> bool:
    """Return True if a peer can run without being installed first."""
    return ENVIRONMENTS[peer].ready.exists() if peer in ENVIRONMENTS else find_spec(peer.replace("-", "_")) is not None


def once(path: Path, make: Callable[[Path], None], *, remember_failure: bool = False) -> Path:
    """Return `path`, made if it does not exist. A failure, which may take minutes, is recorded in `<path>.failed`."""
    failed = path.with_name(f"{path.name}.failed")
    if failed.exists():
        raise BenchmarkError(f"{failed.read_text('utf-8')} (recorded in {failed.name})")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            make(staging)
        except BenchmarkError as exc:
            shutil.rmtree(staging, ignore_errors=True)
            if remember_failure:
                failed.write_text(reason(str(exc)), "utf-8")
            raise
        staging.rename(path)
    return path


def reason(message: str) -> str:
    """Return the last line that names an error, else the last line."""
    lines = [line.strip() for line in message.strip().splitlines()]
    return next((line for line in reversed(lines) if re.search(r"\b\w*[Ee]rror\b", line)), lines[-1])[:200]
