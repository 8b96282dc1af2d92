"""Runs a script in a process that can import grpcio, protobuf, NumPy, the standard library and nothing else.

    python -I only_three.py SCRIPT [ARGUMENT]...

Packages that lie beside the script are part of it, and come from there only. Proves it first: torch,
TensorFlow and tfbundle itself must fail to import, or it exits with 3.
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
"""grpcio itself needs typing_extensions."""

MUST_FAIL = ("torch", "tensorflow", "onnx", "bundler")


class OnlyThree(MetaPathFinder):
    """Refuses every other package before Python looks for it; what is in `folder` is found there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.beside = {path.stem for path in folder.iterdir()}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top in ALLOWED or top.startswith("_"):
            return None
        if top in self.beside:
            return PathFinder.find_spec(name, path if path is not None else [str(self.folder)], target)
        raise ModuleNotFoundError(f"{name} is blocked: only grpcio, protobuf and NumPy are here", name=name)


def main() -> int:
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
