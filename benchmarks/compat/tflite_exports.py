"""Runs mobile exports on the oldest and the newest TFLite runtime that they name, with equal answers.

    python -m benchmarks.compat.tflite_exports

The models of `benchmarks.compat.tflite_models` are exported in each variant, and once more for each of `TARGETS`. Each file runs
in the oldest release of LiteRT and of tflite-runtime that its export.json names, and in the newest one, in environments that uv
makes one at a time. The answers are compared with the installed LiteRT's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np

import bundler
from bundler.errors import VariantsError
from bundler.mobile import ExportOptions, export_mobile
from bundler.tflite.runtimes import PACKAGES, known_runtimes
from bundler.validation.bundle import Bundle
from docs.tflite_probe import answer
from docs.tflite_runtimes import Environment, same

MODELS = ("encoder", "mobile", "recurrent", "ratio")
VARIANTS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")
TARGETS = (None, "tflite-runtime==2.14", "litert==1.0", "litert==2.1")
SHARES = {"int8": 0.03, "int8-io": 0.03}
"""Largest difference by variant, as a share of the largest number; 0.001 for the others.

Releases round a step of int8 up or down in other places, and the steps of a network of many layers add up.
"""
_SOURCE = Path(__file__).with_name("tflite_models.py")


@dataclass(frozen=True)
class Exported:
    """A file of an export.

    Attributes:
        name: the model, the target and the variant.
        path: the file.
        runtime: what export.json says of runtimes.
    """

    name: str
    path: Path
    runtime: Mapping[str, Any]


def exports(folder: Path) -> Iterator[Exported]:
    """Build and export the models into a folder."""
    for model in MODELS:
        for target in TARGETS:
            name = f"{model} {target or 'any'}"
            out = folder / name.replace(" ", "-")
            bundle = _built(model, target, out)
            if not bundle.record(model)["tflite"]:
                continue
            export_mobile(bundle, out / "mobile", ExportOptions(target_runtime=target))
            (record,) = json.loads((out / "mobile" / "export.json").read_text("utf-8"))["models"]
            for variant in record["variants"]:
                yield Exported(f"{name} {variant['variant']}", out / "mobile" / variant["file"], variant["runtime"])


def _built(model: str, target: str | None, out: Path) -> Bundle:
    """Build all variants; those that the target cannot run, or that the quantizer cannot make, are left out."""
    options: dict[str, Any] = {
        "tflite": VARIANTS, "calibration": f"{_SOURCE}:{model}_samples", "min_sqnr": 0.0, "target_runtime": target,
    }  # fmt: skip
    try:
        return bundler.build(f"{_SOURCE}:{model}", out=out / "bundle", name=model, **options)
    except VariantsError as exc:
        print(f"  {model} {target or 'any'}: {exc.what.splitlines()[0]}", flush=True)
        bundle = exc.bundle
        assert isinstance(bundle, Bundle)
        return bundle


def here(file: Exported) -> list[Any]:
    """Return the installed LiteRT's answer."""
    from ai_edge_litert.interpreter import Interpreter

    return answer(Interpreter(model_path=str(file.path)))


def releases(files: list[Exported]) -> dict[str, list[Exported]]:
    """Return, by package and release, the files that name the release as their oldest; the newest release of each has all."""
    table: dict[str, list[Exported]] = {}
    for family, package in PACKAGES.items():
        newest = known_runtimes(family)[-1].release
        for file in files:
            oldest = file.runtime["minimum"][family]
            for release in sorted({oldest, newest} if oldest else set()):
                table.setdefault(f"{package} {release}", []).append(file)
    return table


def run(release: str, files: list[Exported], wanted: Mapping[str, list[Any]]) -> list[str]:
    """Run files in a release, and return the names of those that it refuses or answers differently."""
    with tempfile.TemporaryDirectory(prefix="tfbundle-runtime-") as temporary:
        env = Environment(release, Path(temporary) / "venv")
        cases = Path(temporary) / "cases"
        cases.mkdir()
        for number, file in enumerate(files):
            copy(file.path, cases / f"{number:04}.tflite")
        answers = env.answers(cases)
    failed = []
    for number, file in enumerate(files):
        got = answers[f"{number:04}"]
        if not same(wanted[file.name], got, SHARES.get(file.name.split(" ")[-1], 0.001)):
            failed.append(f"{file.name}: {got if isinstance(got, str) else _difference(wanted[file.name], got)}")
    return failed


def _difference(want: list[Any], got: list[Any]) -> str:
    largest = max(float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) for a, b in zip(want, got, strict=True))
    return f"another answer, by up to {largest:.3g}"


def main() -> int:
    """Print the figures, and return 1 if a file does not run or answers differently."""
    with tempfile.TemporaryDirectory(prefix="tfbundle-exports-") as folder:
        files = list(exports(Path(folder)))
        wanted = {file.name: here(file) for file in files}
        failed = 0
        for release, chosen in releases(files).items():
            problems = run(release, chosen, wanted)
            failed += len(problems)
            print(f"{release}: {len(chosen) - len(problems)} of {len(chosen)} files have equal answers", flush=True)
            for problem in problems:
                print(f"  {problem}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
