"""Programs and packages that single tests need. A test without them is skipped, but fails under CI=true."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest


def require(condition: object, what: str) -> None:
    """Skip the test, or the module if called at its top, unless `condition` is true. Under CI=true, fail instead.

    Args:
        what: the missing program or package and how to install it, e.g. `openssl (apt-get install openssl)`.
    """
    if condition:
        return
    message = f"not installed: {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{message}. Under CI=true, tests must not be skipped for that.", pytrace=False)
    pytest.skip(message, allow_module_level=True)


def require_program(*names: str, install: str) -> str:
    """Return the path of the first program that is on PATH or beside Python's interpreter.

    Args:
        names: names that the program may have.
        install: how to install it.
    """
    search = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    path = next(filter(None, (shutil.which(name, path=search) for name in names)), None)
    require(path, f"{' or '.join(names)} ({install})")
    assert path is not None
    return path


def require_package(module: str, install: str) -> ModuleType:
    """Import and return a module of an optional package.

    Args:
        module: name of the module.
        install: how to install its package.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        require(False, f"{module} ({install})")
        raise


def strangers_python() -> str:
    """Return the interpreter of the environment with other projects' clients, which need an older protobuf.

    It is `.venv/strangers`, or the environment in TFBUNDLE_STRANGERS.
    """
    folder = Path(os.environ.get("TFBUNDLE_STRANGERS") or Path(sys.prefix) / "strangers")
    python = folder / "bin" / "python"
    require(python.exists(), f"other projects' clients in {folder} (make venv)")
    return str(python)


def bash() -> str:
    """Return the path of bash."""
    return require_program("bash", install="apt-get install bash")


def curl() -> str:
    """Return the path of curl."""
    return require_program("curl", install="apt-get install curl")


def kubectl() -> str:
    """Return the path of kubectl."""
    return require_program("kubectl", install="https://kubernetes.io/docs/tasks/tools/")


def openssl() -> str:
    """Return the path of openssl."""
    return require_program("openssl", install="apt-get install openssl")


def of_debian(name: str) -> str:
    """Return the path of a program that Debian has in a package of the same name."""
    return require_program(name, install=f"apt-get install {name}")


def promtool() -> str:
    """Return the path of promtool, which Debian has in the package of Prometheus."""
    return require_program("promtool", install="apt-get install prometheus")


prometheus = partial(of_debian, "prometheus")
docker_registry = partial(of_debian, "docker-registry")
skopeo = partial(of_debian, "skopeo")
umoci = partial(of_debian, "umoci")


def mlflow_server() -> str:
    """Return the path of an `mlflow` that can be a tracking server, which that of mlflow-skinny cannot."""
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    programs = filter(None, (shutil.which("mlflow", path=folder) for folder in dict.fromkeys(folders)))
    path = next(filter(_has_server, programs), None)
    require(path, "mlflow with its server (pip install mlflow, in an environment of its own whose bin/ is on PATH)")
    assert path is not None
    return path


def _has_server(program: str) -> bool:
    """Return whether the environment of an `mlflow` has the packages of a server, and of a database for it."""
    python = Path(program).with_name("python")
    check = "import importlib.util as util, sys; sys.exit(not all(map(util.find_spec, ('alembic', 'flask', 'sqlalchemy'))))"
    command = [str(python), "-c", check]
    return python.exists() and subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
