"""Runs a script in a process that can import only grpcio, protobuf, NumPy and the standard library.

    python -I only_three.py SCRIPT [ARGUMENT]...

Packages next to the script belong to it and are imported only from there. To prove the isolation, the process first checks that
torch, TensorFlow, onnx and tfbundle cannot be imported; if one can, it exits with code 3.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ALLOWED = frozenset({"grpc", "google", "numpy", "typing_extensions"}) | sys.stdlib_module_names
"""Top-level modules that may be imported; grpcio itself needs typing_extensions."""

MUST_FAIL = ("torch", "tensorflow", "onnx", "bundler")


class OnlyThree(MetaPathFinder):
    """A finder that rejects all other packages before Python searches for them, and finds the packages in `folder` there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.beside = {path.stem for path in folder.iterdir()}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None for an allowed module, so that Python's own finders take over.

        Raises:
            ModuleNotFoundError: The module is not allowed.
        """
        top = name.partition(".")[0]
        if top in ALLOWED or top.startswith("_"):
            return None
        if top in self.beside:
            return PathFinder.find_spec(name, path if path is not None else [str(self.folder)], target)
        raise ModuleNotFoundError(f"{name} is blocked: only grpcio, protobuf and NumPy are available", name=name)


def main() -> int:
    """Check the isolation, run the script, and return the exit code."""
    script = Path(sys.argv[1]).resolve()
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, OnlyThree(script.parent))
    for name in MUST_FAIL:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        print(f"{name} could be imported", file=sys.stderr)
        return 3
    print(f"not importable here: {', '.join(MUST_FAIL)}", flush=True)
    sys.argv = sys.argv[1:]
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
