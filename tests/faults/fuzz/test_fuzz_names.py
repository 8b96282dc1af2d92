"""Hostile names on the command line: each is used as a name or refused, and nothing outside the folders is touched."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from bundler.cli.debug import DEBUG_ENV
from tests.bundler.cli.commands import run as tfbundle
from tests.faults.fuzz.fuzzing import Fuzzer, Sandbox, assert_harmless, bounded_memory, budgets, hostile, linked

COMMANDS = (
    (4, ("build", "{onnx}", "--dry-run", "--name={text}")),
    (4, ("build", "{onnx}", "--dry-run", "--input={text}=float32[batch,4]")),
    (2, ("build", "{onnx}", "--dry-run", "--input=x=float32[{text},4]")),
    (2, ("build", "{onnx}", "--dry-run", "--input={text}")),
    (2, ("build", "{onnx}", "--dry-run", "--output={text}")),
    (2, ("build", "{onnx}", "--dry-run", "--signature={text}=classify")),
    (2, ("build", "{onnx}", "--dry-run", "--labels={text}")),
    (1, ("build", "{onnx}", "--dry-run", "--dims={text}", "--tflite={text}")),
    (1, ("build", "{onnx}", "--dry-run", "-o", "{out}/{text}")),
    (1, ("build", "{text}", "--dry-run")),
    (1, ("build", "{yaml}", "--dry-run")),
    (2, ("promote", "{bundle}", "--label={text}", "--version=1")),
    (2, ("promote", "{bundle}", "--model={text}", "--label=stable", "--version=1")),
    (1, ("promote", "{bundle}", "--label=stable", "--version={text}")),
    (1, ("promote", "{bundle}", "--label=stable", "--version=1", "--server={text}", "--timeout=0.1")),
    (2, ("render", "{bundle}", "--", "{text}")),
    (1, ("render", "{bundle}", "--spec={text}")),
    (1, ("export-mobile", "{bundle}", "-o", "{out}", "--model={text}")),
    (1, ("export-mobile", "{bundle}", "-o", "{out}", "--variant={text}")),
    (1, ("export-mobile", "{bundle}", "-o", "{out}", "--labels={text}")),
    (1, ("export-mobile", "{bundle}", "-o", "{out}", "--mean={text}", "--std={text}")),
    (1, ("inspect", "{bundle}/{text}")),
    (1, ("verify", "{bundle}/{text}", "--no-parity")),
    (1, ("smoke", "--timeout=0.1", "--", "{text}")),
    (1, ("bench", "--seconds=0.05", "--timeout=0.1", "--", "{text}")),
    (1, ("ops", "{text}")),
)
YAML = (
    "name: {}", "models:\n- name: {}\n  source: {onnx}", "models:\n- source: {onnx}\n  inputs: [{}]",
    "models:\n- source: {onnx}\n  {}: 1", "models:\n- source: {onnx}\nserving: {labels: {x: {}}}",
)  # fmt: skip


@budgets()
def test_every_name_is_used_or_refused(seconds: float, sandbox: Sandbox, small_bundle: Path, mlp_onnx: Path) -> None:
    bundle, whole, out = sandbox.work / "bundle", sandbox.tmp / "whole", sandbox.work / "out"
    onnx, yaml = sandbox.work / "mlp.onnx", sandbox.work / "bundle.yaml"
    shutil.copytree(small_bundle, whole)
    shutil.copy(mlp_onnx, onnx)
    more = [*sandbox.hostile_paths, "stable", "mlp", "serving", "x", "y", "a" * 63, "a" * 64]

    def check(data: bytes) -> None:
        number, text = json.loads(data)
        if not (bundle / "bundle.json").is_file():
            linked(whole, bundle)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        line = YAML[number // len(COMMANDS) % len(YAML)].replace("{onnx}", str(onnx))
        yaml.write_text(line.replace("{}", json.dumps(text) if number % 2 else text), "utf-8", "surrogatepass")
        places = {"{text}": text, "{onnx}": str(onnx), "{yaml}": str(yaml), "{bundle}": str(bundle), "{out}": str(out / "new")}
        command = COMMANDS[number % len(COMMANDS)][1]
        arguments = []
        for part in command:
            for place, value in places.items():
                part = part.replace(place, value)
            arguments.append(part)
        os.environ.pop(DEBUG_ENV, None)  # set by a name that is --debug
        with sandbox.guarded(reads=False):
            result = tfbundle(*arguments, code=None)
        assert result.exit_code in (0, 1, 2, 3), f"{arguments}: exit code {result.exit_code}: {result.exception!r}"
        try:
            assert_harmless(result.output)
        except AssertionError as exc:
            raise AssertionError(f"{arguments}: {exc}") from exc

    def make(rng: random.Random) -> bytes:
        number = rng.choices(range(len(COMMANDS)), [weight for weight, _ in COMMANDS])[0]
        return json.dumps([number + len(COMMANDS) * rng.randrange(2 * len(YAML)), hostile(rng, more)]).encode()

    with bounded_memory():
        Fuzzer(seconds, check).run(make)
