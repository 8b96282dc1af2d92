"""Finds the modules that have a test file of their own name, and those that need a row in tests/covered_elsewhere.py."""

from __future__ import annotations

from pathlib import Path

from docs.house.functions import sources
from docs.house.imports import PACKAGES, ROOT


def modules() -> list[str]:
    """Return the paths of the modules of both packages, without files that only re-export names."""
    return [path.relative_to(ROOT).as_posix() for path in sources(*PACKAGES) if not _only_hands_on(path)]


def mirrored_test(module: str) -> Path:
    """Return the path of a module's own test file: `bundler/spec/request.py` -> `tests/bundler/spec/test_request.py`."""
    path = Path(module)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    return ROOT / "tests" / path.parent / f"test_{stem.strip('_')}.py"


def without_own_test() -> list[str]:
    """Return the modules without a test file of their own name."""
    return [module for module in modules() if not mirrored_test(module).is_file()]


def _only_hands_on(path: Path) -> bool:
    """Return whether a file is a package's `__init__` or `__main__` that defines no function or class."""
    text = path.read_text("utf-8")
    return path.name in ("__init__.py", "__main__.py") and "\ndef " not in text and "\nclass " not in text
