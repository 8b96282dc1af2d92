"""Mutants of bundle.json: every command that reads a bundle accepts or refuses them, and stays within its folders."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from bundler.bundle.manifest import _canonical, _digest
from tests.bundler.cli.commands import run as tfbundle
from tests.faults.fuzz.fuzzing import (
    Fuzzer,
    Sandbox,
    assert_harmless,
    bounded_memory,
    budgets,
    damaged,
    linked,
    mutated_json,
)

COMMANDS = (
    (4, ("inspect", "{bundle}")),
    (2, ("inspect", "{bundle}", "--json")),
    (4, ("verify", "{bundle}", "--no-parity")),
    (1, ("render", "{bundle}")),
    (1, ("promote", "{bundle}", "--label", "stable", "--version", "1")),
    (1, ("promote", "{bundle}")),
    (1, ("export-mobile", "{bundle}", "-o", "{out}")),
    (1, ("smoke", "127.0.0.1:9", "--bundle", "{bundle}", "--timeout", "0.1")),
)


def resealed(body: Any) -> bytes:
    """Return the canonical bytes of a bundle.json with the digest that its content has, as a stranger would write it."""
    if isinstance(body, dict):
        body.pop("digest", None)
        body["digest"] = _digest(body)
    return _canonical(body)


@budgets()
def test_every_command_handles_every_bundle_json(seconds: float, sandbox: Sandbox, small_bundle: Path) -> None:
    bundle, whole, out = sandbox.work / "bundle", sandbox.tmp / "whole", sandbox.work / "out"
    shutil.copytree(small_bundle, whole)
    original = (whole / "bundle.json").read_bytes()
    paths = [*sandbox.hostile_paths, "models", "models/mlp", "bundle.json", "link", "link/profile", "stable", "1", "mlp"]

    def check(data: bytes) -> None:
        command = COMMANDS[data[0] % len(COMMANDS)][1]
        linked(whole, bundle)
        shutil.rmtree(out, ignore_errors=True)
        (bundle / "bundle.json").unlink()
        (bundle / "bundle.json").write_bytes(data[1:])
        (bundle / "link").symlink_to(sandbox.owner)
        with sandbox.guarded():
            result = tfbundle(*(part.format(bundle=bundle, out=out) for part in command), code=None)
        assert result.exit_code in (0, 1, 2, 3), f"{command}: exit code {result.exit_code}"
        try:
            assert_harmless(result.output)
        except AssertionError as exc:
            raise AssertionError(f"{command}: {exc}") from exc

    def make(rng: random.Random) -> bytes:
        number = rng.choices(range(len(COMMANDS)), [weight for weight, _ in COMMANDS])[0]
        if rng.random() < 0.05:
            return bytes([number]) + damaged(original, rng)
        body = mutated_json(json.loads(original), rng, paths)
        try:
            return bytes([number]) + resealed(body)
        except (ValueError, TypeError):  # NaN and lone surrogates have no canonical form
            return bytes([number]) + json.dumps(body).encode()

    with bounded_memory():
        Fuzzer(seconds, check).run(make)
