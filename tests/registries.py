"""A real registry on this machine: Debian's docker-registry on a free port, with its storage in a folder."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.bundle.manifest import FileEntry, Manifest
from tests.requirements import docker_registry

_SECONDS = 20.0


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that runs.

    Attributes:
        host: its host and port.
        storage: the folder of its blobs.
        log: the file of its log, with a line per request.
    """

    host: str
    storage: Path
    log: Path

    def address(self, rest: str) -> str:
        """Return the address of a repository or tag in it."""
        return f"oci://{self.host}/{rest}"

    def blob(self, digest: str) -> Path:
        """Return the file of a blob, so that a test can damage it."""
        number = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / number[:2] / number / "data"


@contextmanager
def registry(folder: Path, *, htpasswd: str = "") -> Iterator[RunningRegistry]:
    """Run a registry.

    Args:
        folder: a folder for its files.
        htpasswd: lines `user:hash` (bcrypt); empty for a registry without passwords.
    """
    program = docker_registry()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd, "utf-8")
        config["auth"] = {"htpasswd": {"realm": "models", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=output, stderr=output)
    try:
        _wait_until_ready(port, process, log)
        yield RunningRegistry(f"127.0.0.1:{port}", folder / "storage", log)
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=_SECONDS).close()
            return
        except urllib.error.HTTPError as exc:
            exc.close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start:\n{log.read_text()}")


def few_files(bundle: Path, root: Path, weights: bytes) -> Path:
    """Write a bundle with the models, golden data and report of another one, and one more file of weights; return its folder."""
    manifest = Manifest.read(bundle / "bundle.json")
    kept = [name for name in manifest.files if name.split("/")[0] in ("models", "golden", "report.html")]
    for name in kept:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, root / name)
    more = f"models/{next(iter(manifest.models))}/1/variables/more.data"
    (root / more).write_bytes(weights)
    files = {name: FileEntry.of(root / name) for name in (*kept, more)}
    (root / "bundle.json").write_bytes(replace(manifest, files=files).to_bytes())
    return root
