"""Journals of a stranger's bundle: each is followed within the bundle or refused, and nothing outside is touched."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from bundler.bundle.staging import PREFIX, Staging
from bundler.errors import TfbundleError
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

STAGED = f"{PREFIX}planted"
STEPS = [[f"{STAGED}/payload", "serving/new", None], ["serving/models.config", f"{STAGED}/kept", f"{STAGED}/payload"]]
INSIDE = [
    "bundle.json", "models/mlp/1", "models", "serving", "link", "link/profile", "link/new", STAGED, ".lock", ".", f"{STAGED}/x",
]  # fmt: skip


@budgets()
def test_journals_never_lead_out_of_the_bundle(seconds: float, sandbox: Sandbox, small_bundle: Path) -> None:
    bundle, whole = sandbox.work / "bundle", sandbox.tmp / "whole"
    shutil.copytree(small_bundle, whole)
    paths = [*sandbox.hostile_paths, *INSIDE]

    def check(data: bytes) -> None:
        linked(whole, bundle)
        (bundle / "link").symlink_to(sandbox.owner)
        staging = bundle / STAGED
        staging.mkdir()
        (staging / "payload").write_text("the stranger's")
        (staging / ("undo.json" if data[:1] == b"u" else "journal.json")).write_bytes(data[1:])
        with sandbox.guarded():
            if data[-1:] == b" ":
                assert_harmless(tfbundle("render", bundle, "docker", code=None).output)
                return
            try:
                with Staging(bundle):
                    pass
            except TfbundleError as exc:
                assert_harmless(str(exc))

    def make(rng: random.Random) -> bytes:
        name, end = rng.choice((b"j", b"u")), rng.choices((b"", b" "), (20, 1))[0]
        if rng.random() < 0.2:
            return name + damaged(json.dumps(STEPS).encode(), rng) + end
        steps = mutated_json([list(rng.choice(STEPS)) for _ in range(rng.randrange(1, 4))], rng, paths)
        if isinstance(steps, list):
            for step in steps:
                if isinstance(step, list) and len(step) == 3 and rng.random() < 0.7:
                    step[rng.randrange(3)] = rng.choice(paths)
        return name + json.dumps(steps).encode() + end

    with bounded_memory():
        Fuzzer(seconds, check).run(make)
