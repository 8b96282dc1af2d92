"""Writes the results of `make compat` into docs/compatibility.md. Only the standard library is imported: nox reads this file."""

from __future__ import annotations

import datetime
import json
import platform
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compat.combinations import COMBINATIONS, LOADERS, Combination, Loader

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
DOCUMENT = ROOT / "docs" / "compatibility.md"
ALIKE = 2e-6
"""The relative error up to which two TensorFlow releases answer alike: their kernels sum in another order."""

TOLERANCE = 1e-4
"""The relative error of tfbundle's parity check: a model beyond it fails."""

_PACKAGES = {
    "torch": "torch", "tensorflow": "TensorFlow", "tensorflow-serving-api": "serving API", "onnx": "onnx", "onnx-ir": "onnx-ir",
    "onnxscript": "onnxscript", "onnxruntime": "ONNX Runtime", "numpy": "NumPy", "protobuf": "protobuf",
}  # fmt: skip


def marked_files() -> list[str]:
    """Return the test files that use the mark `compat`, since collecting all tests needs every package of development."""
    paths = [*sorted((ROOT / "tests" / "bundler").rglob("test_*.py")), ROOT / "tests" / "zoo" / "test_zoo.py"]
    return [str(path.relative_to(ROOT)) for path in paths if "pytest.mark.compat" in path.read_text("utf-8")]


def environment_row(
    report: Path, combination: Combination, size: int, install_minutes: float, run_minutes: float
) -> dict[str, Any]:
    """Return the result of one combination.

    Args:
        report: pytest's results in JUnit's form.
        combination: what was installed.
        size: bytes of the environment.
        install_minutes: how long the installation took.
        run_minutes: how long the tests took.
    """
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    bad = [_name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [_name(case) for case in cases if case.find("skipped") is not None]
    models = [case for case in cases if (case.get("classname") or "").endswith("test_zoo")]
    return {
        "date": _today(), "machine": _machine(), "python": combination.python, "packages": dict(combination.pins),
        "passed": len(cases) - len(bad) - len(skipped), "failed": bad, "skipped": skipped,
        "models": sorted(name for name in map(_name, models) if name not in (*bad, *skipped)),
        "gigabytes": round(size / 1e9, 1), "install_minutes": round(install_minutes, 1), "test_minutes": round(run_minutes, 1),
    }  # fmt: skip


def loader_row(results: Mapping[str, Any], loader: Loader, size: int, install_minutes: float) -> dict[str, Any]:
    """Return the result of one TensorFlow release, from what `load.py` printed."""
    models: Mapping[str, float | str] = results["models"]
    bad = {name: error for name, error in models.items() if isinstance(error, str) or error > TOLERANCE}
    apart = {name: error for name, error in models.items() if name not in bad and not isinstance(error, str) and error > ALIKE}
    errors = [error for error in models.values() if not isinstance(error, str)]
    return {
        "date": _today(), "tensorflow": loader.tensorflow, "python": loader.python, "models": sorted(models),
        "failed": bad, "apart": apart,
        "largest_error": max(errors, default=None), "gigabytes": round(size / 1e9, 1),
        "install_minutes": round(install_minutes, 1), "seconds": results["seconds"],
    }  # fmt: skip


def record(table: str, name: str, row: Mapping[str, Any]) -> None:
    """Keep a result, and write both tables anew."""
    results = json.loads(RESULTS.read_text("utf-8"))
    results[table][name] = row
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8"), results), "utf-8")


def updated(text: str, results: Mapping[str, Any]) -> str:
    """Return the document with the tables of the results between their marks."""
    for table, lines_of in (("environments", _environments), ("tensorflow", _loaders)):
        begin, end = f"<!-- {table}: written by make compat -->\n", f"<!-- end of {table} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + "\n" + "\n".join(lines_of(results[table])) + "\n\n" + end + after
    return text


def _environments(rows: Mapping[str, Any]) -> list[str]:
    titles = ["Python", *_PACKAGES.values(), "tests passed", "failed", "not supported", "models", "size", "minutes", "date"]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in (rows[c.name] for c in COMBINATIONS if c.name in rows):
        releases = [row["packages"][package] for package in _PACKAGES]
        lines.append(_line([
            row["python"], *releases, str(row["passed"]), ", ".join(row["failed"]) or "0", ", ".join(row["skipped"]),
            str(len(row["models"])), f"{row['gigabytes']} GB", f"{row['install_minutes']} + {row['test_minutes']}", row["date"],
        ]))  # fmt: skip
    return lines


def _loaders(rows: Mapping[str, Any]) -> list[str]:
    titles = ["TensorFlow", "Python", "models that load", "answer alike", "apart", "failed", "largest error", "size", "date"]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in (rows[loader.name] for loader in LOADERS if loader.name in rows):
        failed = "; ".join(f"{name}: {error}" for name, error in row["failed"].items()) or "0"
        apart = ", ".join(f"{name}: {error:.1e}" for name, error in row["apart"].items()) or "0"
        good = len(row["models"]) - len(row["failed"])
        error = "" if row["largest_error"] is None else f"{row['largest_error']:.1e}"
        lines.append(_line([
            row["tensorflow"], row["python"], f"{good} of {len(row['models'])}", str(good - len(row["apart"])), apart, failed,
            error, f"{row['gigabytes']} GB", row["date"],
        ]))  # fmt: skip
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(case: ElementTree.Element) -> str:
    """Return `resnet18` of `test_architecture[resnet18]`, and the name of any other test as it is."""
    name = case.get("name") or ""
    return name.removeprefix("test_architecture[").removesuffix("]") if name.startswith("test_architecture[") else name


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"
