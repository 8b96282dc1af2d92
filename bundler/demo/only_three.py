"""Runs a script in a process that can import grpcio, protobuf, NumPy and the standard library, and nothing else.

    python -I only_three.py SCRIPT [ARGUMENT]...

Proves it first: torch, TensorFlow and tfbundle itself must fail to import, or it exits with 3.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ALLOWED = frozenset({"grpc", "google", "numpy", "typing_extensions"}) | sys.stdlib_module_names
"""grpcio itself needs typing_extensions."""

MUST_FAIL = ("torch", "tensorflow", "onnx", "bundler", "serving")


class OnlyThree(MetaPathFinder):
    """Refuses every other package before Python looks for it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top in ALLOWED or name.startswith("_"):
            return None
        raise ModuleNotFoundError(
            f"{name} is blocked: only grpcio, protobuf and NumPy are allowed here", name=name
        )


def main() -> None:
    sys.meta_path.insert(0, OnlyThree())
    for name in MUST_FAIL:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        print(f"{name} could be imported", file=sys.stderr)
        raise SystemExit(3)
    print(f"not importable here: {', '.join(MUST_FAIL)}", flush=True)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
