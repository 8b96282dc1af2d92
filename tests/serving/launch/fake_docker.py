"""A `docker` that records its arguments and, for `run`, starts the embedded server where the container would listen.

Installed as an executable by `tests.serving.launch.executables`. FAKE_DOCKER is a folder: `calls` gets one JSON array per
call, `mode` says how it misbehaves, the files `container` and `image` exist if the container and the image do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_DOCKER"])
VALUED = (
    "--name", "--user", "--tmpfs", "--cap-drop", "--security-opt", "--memory", "--cpus", "--publish", "--mount", "--entrypoint",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    with (HOME / "calls").open("a") as file:
        file.write(json.dumps(arguments) + "\n")
    mode = (HOME / "mode").read_text() if (HOME / "mode").exists() else ""
    verb = arguments[0]
    if verb == "version":
        if mode == "daemon-down":
            print("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", file=sys.stderr)
            return 1
        print("28.0.0")
    elif verb in ("container", "image"):
        return 0 if (HOME / verb).exists() else 1
    elif verb == "pull":
        if mode == "no-registry":
            print(f"Error response from daemon: no such host for {arguments[1]}")
            return 1
        print(f"Status: Downloaded newer image for {arguments[1]}")
        (HOME / "image").touch()
    elif verb == "run":
        return run(arguments[1:], mode)
    elif verb in ("stop", "rm"):
        return end(verb, mode)
    return 0


def run(arguments: list[str], mode: str) -> int:
    if mode == "cannot-start":
        print("docker: Error response from daemon: driver failed programming external connectivity", file=sys.stderr)
        return 125
    if mode in ("exits", "killed"):
        print("Failed to start server. Error: no such model", file=sys.stderr)
        return 255 if mode == "exits" else 137
    if mode == "hangs":
        (HOME / "container").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, lambda *_: ((HOME / "container").unlink(), sys.exit(143)))
        time.sleep(600)
    options, rest = split(arguments)
    mounts = dict(mount(text) for text in options["--mount"])
    flags = [inside(flag, mounts) for flag in rest[1:]]
    child = subprocess.Popen([sys.executable, "-m", "serving.server", *flags])
    (HOME / "container").write_text(str(child.pid))
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    (HOME / "container").unlink(missing_ok=True)
    return code


def split(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the options by name, and the arguments from the image on."""
    options: dict[str, list[str]] = {}
    while arguments[0].startswith("--"):
        name = arguments.pop(0)
        options.setdefault(name, []).append(arguments.pop(0) if name in VALUED else "")
    return options, arguments


def mount(text: str) -> tuple[str, str]:
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    assert parts["type"] == "bind"
    assert "readonly" in parts
    return parts["target"], parts["source"]


def inside(flag: str, mounts: dict[str, str]) -> str:
    """Return a flag with the paths of this machine, and write a models.config with them."""
    for target, source in mounts.items():
        flag = flag.replace(f"={target}/", f"={source}/")
    if flag.startswith("--model_config_file="):
        text = Path(flag.partition("=")[2]).read_text()
        (HOME / "models.config").write_text(text.replace('"/models/', f'"{mounts["/models"]}/'))
        return f"--model_config_file={HOME / 'models.config'}"
    return flag


def end(verb: str, mode: str) -> int:
    container = HOME / "container"
    if verb == "rm" and mode == "cannot-remove":
        print("Error response from daemon: removal is in progress", file=sys.stderr)
        return 1
    if not container.exists():
        print("Error response from daemon: No such container", file=sys.stderr)
        return 1
    pid = int(container.read_text())
    os.kill(pid, signal.SIGTERM if verb == "stop" else signal.SIGKILL)
    while verb == "stop" and container.exists() and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    if verb == "rm":
        container.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
