"""Runs Python code in a process in which packages cannot be imported, as if they were not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from serving.extras import packages_of

_HIDE = """
import sys
from importlib.abc import MetaPathFinder

class Hide(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
"""


def extras_modules(*extras: str) -> set[str]:
    """Return the modules of extras, with those of the extras that they include."""
    return {module for extra in extras for _, module in packages_of(extra)}


def run_without(modules: Iterable[str], code: str, *arguments: object) -> Any:
    """Run code that prints JSON as its last line, and return that; the modules cannot be imported by it."""
    script = f"HIDDEN = {set(modules)!r}\n{_HIDE}\n{code}"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
