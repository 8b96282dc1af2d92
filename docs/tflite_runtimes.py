"""Writes bundler/tflite/runtimes.json: the operators and kernels of TFLite runtimes, measured with the wheels from PyPI.

    python -m docs.tflite_runtimes CASES

CASES is a folder; the small .tflite files of `docs.tflite_cases` are written into it if it is empty, which takes ten minutes. uv
makes an environment for each release, one at a time in a temporary folder, and `docs.tflite_probe` runs in it:

1. A file without nodes per operator and version: the release refuses versions that it does not register.
2. The cases. If a release has the operator's version and refuses a case that the newest release runs, it has no kernel for the
   case's types.
3. The cases whose operators are too new for the release, with the newest versions that it has. If the answer is the newest
   release's, it computes these types right, and the version can be lowered.

Cases that a release answers differently are printed: they are candidates for bundler/tflite/known_bad.json.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bundler.saved_model.collect_releases import to_text
from bundler.tflite.contents import TfliteOperator, operators
from bundler.tflite.flatbuffer import packed
from bundler.tflite.runtimes import DATA

RELEASES: Mapping[str, tuple[str, str]] = {
    "tflite-runtime 2.14.0": ("2023-10-03", "2.14.0"),
    "ai-edge-litert 1.0.1": ("2024-08-29", "2.18.0"),
    "ai-edge-litert 1.1.2": ("2025-02-10", "2.19.0"),
    "ai-edge-litert 1.2.0": ("2025-03-13", "2.19.0"),
    "ai-edge-litert 1.3.0": ("2025-05-19", "2.20.0"),
    "ai-edge-litert 1.4.0": ("2025-07-02", "2.20.0"),
    "ai-edge-litert 2.0.2": ("2025-09-17", "2.21.0"),
    "ai-edge-litert 2.0.3": ("2025-11-08", "2.21.0"),
    "ai-edge-litert 2.1.0": ("2025-12-17", "2.21.0"),
    "ai-edge-litert 2.1.1": ("2026-01-27", "2.21.0"),
    "ai-edge-litert 2.1.2": ("2026-01-28", "2.21.0"),
    "ai-edge-litert 2.1.3": ("2026-03-16", "2.22.0"),
    "ai-edge-litert 2.1.4": ("2026-04-10", "2.22.0"),
    "ai-edge-litert 2.1.5": ("2026-05-15", "2.22.0"),
    "ai-edge-litert 2.1.6": ("2026-07-01", "2.23.0"),
    "ai-edge-litert 2.2.0": ("2026-08-12", "2.23.0"),
    "ai-edge-litert 2.3.0": ("2026-10-06", "2.23.0"),
}
"""Date of the wheel, and the TensorFlow version of its newest operator versions (runtime_version.cc in LiteRT's tree)."""

NEWEST = list(RELEASES)[-1]
_MOST_VERSIONS = 20
_NEEDS = ("numpy<2", "flatbuffers", "backports.strenum", "typing_extensions")
_NODE = re.compile(r"Node number (\d+) \((\w+)\) failed")

Answers = dict[str, "str | list[Any]"]
"""By case: the outputs, or the runtime's message."""


class Environment:
    """A release in an environment of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        package, release = name.split(" ")
        self.module = f"{package.replace('-', '_')}.interpreter".partition(".")[0]
        self.python = str(folder / "bin" / "python")
        _uv("venv", "--quiet", "--python", "3.11", str(folder))
        _uv("pip", "install", "--quiet", "--python", self.python, "--no-deps", f"{package}=={release}", *_NEEDS)

    def probe(self, task: str, folder: Path) -> int:
        """Run a task of docs.tflite_probe, and return its exit code."""
        script = Path(__file__).with_name("tflite_probe.py")
        command = [self.python, str(script), self.module, task, str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def versions(self, folder: Path) -> dict[str, list[int]]:
        """Return the oldest and the newest version of each operator."""
        _write_version_files(folder)
        assert self.probe("versions", folder) == 0
        found = json.loads((folder / "ops.json").read_text("utf-8"))
        assert all(numbers == list(range(numbers[0], numbers[-1] + 1)) for numbers in found.values())
        return {op: [numbers[0], numbers[-1]] for op, numbers in found.items()}

    def answers(self, folder: Path) -> Answers:
        """Run the cases in a folder, each again after a crash of another one."""
        while code := self.probe("cases", folder):
            crashed = (folder / "at").read_text("utf-8")
            assert not (folder / f"{crashed}.json").exists(), crashed
            (folder / f"{crashed}.json").write_text(json.dumps({"problem": f"ends the process with {code}"}), "utf-8")
        return dict(_answers(folder))


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True)


def _write_version_files(folder: Path) -> None:
    for name, number in vars(schema.BuiltinOperator).items():
        if isinstance(number, int) and name not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"):
            for version in range(1, _MOST_VERSIONS + 1):
                (folder / f"{name}-{version}.tflite").write_bytes(_without_nodes(number, version))


def _without_nodes(number: int, version: int) -> bytes:
    """Return a file that lists one operator and has no nodes."""
    model, code, graph = schema.ModelT(), schema.OperatorCodeT(), schema.SubGraphT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return packed(model)


def _answers(folder: Path) -> Iterator[tuple[str, str | list[Any]]]:
    for path in sorted(folder.glob("*.tflite")):
        problem = json.loads(path.with_suffix(".json").read_text("utf-8"))["problem"]
        if problem is not None:
            yield path.stem, str(problem)
            continue
        with np.load(path.with_suffix(".npz")) as arrays:
            yield path.stem, [arrays[key] for key in arrays.files]


def same(want: str | list[Any], got: str | list[Any], share: float = 0.01) -> bool:
    """Return whether two answers are equal, up to a share of the largest number; 0.01 is a step or two of an int8 tensor."""
    if isinstance(want, str) or isinstance(got, str):
        return False
    return all(a.shape == b.shape and a.dtype == b.dtype and _close(a, b, share) for a, b in zip(want, got, strict=True))


def _close(want: Any, got: Any, share: float) -> bool:
    largest = float(np.nanmax(np.abs(want.astype(np.float64)))) if want.size and not np.isnan(want).all() else 0.0
    return bool(np.allclose(want.astype(np.float64), got.astype(np.float64), rtol=0, atol=share * largest, equal_nan=True))


def lacking(
    answers: Answers, newest: Answers, ops: Mapping[str, list[int]], found: Mapping[str, tuple[TfliteOperator, ...]]
) -> dict[str, dict[str, str]]:
    """Return, by operator and types, the messages of kernels that a release does not have.

    Args:
        answers: the release's answers.
        newest: those of the newest release.
        ops: the versions that the release has.
        found: the operators of each case.
    """
    runs = {(op.name, op.types) for case, answer in answers.items() if not isinstance(answer, str) for op in found[case]}
    lacks: dict[str, dict[str, str]] = {}
    for case, answer in answers.items():
        if not isinstance(answer, str) or isinstance(newest[case], str) or too_new(found[case], ops):
            continue
        operator = _refused(answer, found[case])
        if operator is None or (operator.name, operator.types) in runs:
            print(f"  {case}: not clear which kernel is missing: {answer[-160:]!r}")
        else:
            lacks.setdefault(operator.name, {})[operator.types] = short(answer)
    return {op: dict(sorted(types.items())) for op, types in sorted(lacks.items())}


def too_new(operators: Iterable[TfliteOperator], ops: Mapping[str, list[int]]) -> list[TfliteOperator]:
    """Return the operators that a release does not have in their version."""
    return [each for each in operators if not each.custom and each.version > ops.get(each.name, [0, 0])[1]]


def _refused(message: str, operators: tuple[TfliteOperator, ...]) -> TfliteOperator | None:
    match = _NODE.search(message)
    if match and int(match[1]) < len(operators) and operators[int(match[1])].name == match[2]:
        return operators[int(match[1])]
    own = [each for each in operators if each.name not in ("QUANTIZE", "DEQUANTIZE", "CAST")]
    return own[0] if len(own) == 1 else None


def short(message: str) -> str:
    """Return the reason in a runtime's message."""
    reason = _NODE.split(message)[0].splitlines()[-1] if _NODE.search(message) else message
    return re.sub(r"^.*?tensorflow/lite/|^.*?(?=tflite/kernels)|external/\S*?/", "", reason).strip().rstrip(".")


def lowered(path: Path, ops: Mapping[str, list[int]]) -> bytes | None:
    """Return a file with the newest versions that a release has; None if it lacks an operator."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    for code in model.operatorCodes:
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name != "CUSTOM" and name not in ops:
            return None
        code.version = min(code.version, ops[name][1]) if name != "CUSTOM" else code.version
    return packed(model)


def _lowers(env: Environment, cases: Path, newest: Answers, ops: Mapping[str, list[int]], work: Path) -> dict[str, list[str]]:
    """Return, by operator, the types that a release computes right with an older version of it."""
    changed: dict[str, list[TfliteOperator]] = {}
    for path in sorted(cases.glob("*.tflite")):
        new = too_new(operators(path), ops)
        file = lowered(path, ops) if new and not isinstance(newest.get(path.stem), str) else None
        if file is not None:
            changed[path.stem] = new
            (work / path.name).write_bytes(file)
    answers = env.answers(work)
    right: dict[str, dict[str, bool]] = {}
    for case, new in changed.items():
        for operator in new:
            types = right.setdefault(operator.name, {})
            types[operator.types] = types.get(operator.types, True) and same(newest[case], answers[case])
    kept = {op: sorted(types for types, good in found.items() if good) for op, found in sorted(right.items())}
    return {op: types for op, types in kept.items() if types}


def measure(name: str, cases: Path, newest: Answers | None) -> tuple[dict[str, Any], Answers]:
    """Return a release's row of the file, and its answers."""
    print(name, flush=True)
    with tempfile.TemporaryDirectory(prefix="tfbundle-runtime-") as temporary:
        folder = Path(temporary)
        env = Environment(name, folder / "venv")
        for each in ("versions", "cases", "lowered"):
            (folder / each).mkdir()
        for path in cases.glob("*.tflite"):
            shutil.copy(path, folder / "cases")
        ops, answers = env.versions(folder / "versions"), env.answers(folder / "cases")
        reference = newest or answers
        found = {path.stem: operators(path) for path in cases.glob("*.tflite")}
        for case, answer in answers.items():
            if not isinstance(answer, str) and not isinstance(reference[case], str) and not same(reference[case], answer):
                print(f"  {case}: another answer ({', '.join(f'{op.name} {op.types}' for op in found[case])})")
        released, tensorflow = RELEASES[name]
        row = {
            "released": released, "tensorflow": tensorflow, "ops": ops, "lacks": lacking(answers, reference, ops, found),
            "lowers": _lowers(env, cases, reference, ops, folder / "lowered"),
        }  # fmt: skip
        return row, answers


def compact(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the file's content: later releases of a package have only the versions that changed."""
    before: dict[str, Mapping[str, list[int]]] = {}
    content = {}
    for name in RELEASES:
        row, package = rows[name], name.split(" ")[0]
        old = before.get(package, {})
        assert set(old) <= set(row["ops"]), "a release without an operator that an older one has"
        changes = {op: versions for op, versions in sorted(row["ops"].items()) if old.get(op) != versions}
        content[name] = {**row, "ops": changes}
        before[package] = row["ops"]
    return content


def _write_cases(folder: Path) -> None:
    """Write the cases; the process that writes them is started again after a case that crashes it."""
    done: list[str] = []
    while True:
        command = [sys.executable, "-m", "docs.tflite_cases", str(folder)]
        run = subprocess.run(command, input="\n".join(done), stdout=subprocess.PIPE, text=True, check=False)
        if run.returncode == 0:
            return
        assert run.stdout, "no case was tried"
        done += run.stdout.split()


def main() -> None:
    """Measure all releases and write the file."""
    cases = Path(sys.argv[1])
    cases.mkdir(exist_ok=True)
    if not any(cases.glob("*.tflite")):
        _write_cases(cases)
    newest_row, newest = measure(NEWEST, cases, None)
    rows = {NEWEST: newest_row, **{name: measure(name, cases, newest)[0] for name in RELEASES if name != NEWEST}}
    DATA.write_text(to_text(compact(rows)), "utf-8")
    print(f"{DATA}: {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
