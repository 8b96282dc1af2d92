"""Units whose results are made at once: the artifacts are copied from a bundle, as the process that "builds" them does not build.

Run as a module, this is the worker of such units. What a unit does is in its name:

    dies…        its process is killed, each time
    stumbles…    its process is killed the first time
    fails…       it has an error
    grows…       its process takes 64 MiB more
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.bundle.staging import Staging
from bundler.errors import ParityError
from bundler.many import failures
from bundler.many.build import Models
from bundler.many.cache import Cache, CacheEntry, digest
from bundler.many.engine import Hooks, Outcome
from bundler.many.units import Unit
from bundler.process.memory import used_bytes
from bundler.process.worker import answer_with_events
from bundler.spec.bundle_spec import parse_spec

if TYPE_CHECKING:
    import pytest

BUNDLE_ENV = "TFBUNDLE_TOY_BUNDLE"
GROWTH = 64 << 20


def unit(index: int, name: str, base: Path, **model: Any) -> Unit:
    """Return a unit with a source file of its own."""
    source = base / f"{name}.onnx"
    if not source.exists():
        source.write_bytes(name.encode())
    spec = {"models": [{"name": name, "source": source.name, **model}], "serving": {}}
    return Unit(index, name, json.dumps(spec, sort_keys=True), str(base))


def hooks(said: list[str] | None = None) -> Hooks:
    """Return hooks that keep the notices."""
    return Hooks(lambda event: None, (said if said is not None else []).append)


def render_only_the_report(patch: pytest.MonkeyPatch) -> None:
    """Let builds write no other generated files, which take most of their time."""

    from bundler import pipeline
    from bundler.render.parts import render_parts

    def render(staging: Staging, manifest: Manifest, **more: Any) -> None:
        render_parts(staging, manifest, ("report",), **more)

    patch.setattr(pipeline, "render_parts", render)


class ToyEngine:
    """Makes the results of units in this process; keeps which units it was given."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.built: list[str] = []

    def run(self, units: Sequence[Unit], cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcomes, as an Engine does."""
        for each in units:
            self.built.append(each.name)
            if each.name.startswith("fails"):
                yield Outcome(each, error=ParityError("It differs.", fix="correct it"))
            else:
                yield Outcome(each, make_entry(each, cache, self.bundle))


def models(base: Path, *names: str, **sections: Any) -> Models:
    """Return models with a source file each."""
    for name in names:
        unit(0, name, base)
    spec = parse_spec({"models": [{"name": name, "source": f"{name}.onnx"} for name in names], **sections}, where="the test")
    return Models(spec, ((spec, base),))


def make_entry(made: Unit, cache: Cache, bundle: Path) -> CacheEntry:
    """Store the artifacts of a bundle's model `mlp` as the result of a unit."""
    layout, record = BundleLayout(bundle), Manifest.read(bundle / "bundle.json").models["mlp"][1]
    base = Path(made.base)
    found = {made.model["source"]: FileEntry.of(base / made.model["source"]).sha256}
    with cache.draft() as draft:
        files = BundleLayout(draft / "entry" / "files")
        shutil.copytree(layout.version_dir("mlp", 1), files.version_dir(made.name, 1))
        for source, target in (
            (layout.onnx_file("mlp", 1), files.onnx_file(made.name, 1)),
            (layout.golden_file("mlp", 1), files.golden_file(made.name, 1)),
            (layout.tflite_file("mlp", 1, "float32"), files.tflite_file(made.name, 1, "float32")),
        ):
            target.parent.mkdir(parents=True)
            shutil.copyfile(source, target)
        tflite = {"float32": {**record["tflite"]["float32"], "file": f"{made.name}-float32.tflite"}}
        empty: dict[str, Any] = {"notices": [], "rejected": [], "missing": [], "choice": None}
        result = {"record": {**record, "tflite": tflite}, **empty}
        key = digest([made.request(), found])
        entry = cache.store(draft / "entry", key, made.name, result)
    cache.remember(made.request(), found, key)
    return entry


def _answer(request: Mapping[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    made, cache = Unit(**request["unit"]), Cache(Path(sys.argv[2]))
    marker = cache.root / f"{made.name}.began"
    is_first = not marker.exists()
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as file:
        file.write(f"{os.getpid()}\n")
    tell({"model": made.name, "stage": "load", "status": "finished", "seconds": 0.1, "part": ""})
    if made.name.startswith("dies") or (made.name.startswith("stumbles") and is_first):
        os.kill(os.getpid(), signal.SIGKILL)
    if made.name.startswith("fails"):
        return {"error": failures.to_json(ParityError("It differs.", fix="correct it")), "memory": used_bytes()}
    if made.name.startswith("grows"):
        _KEPT.append(bytearray(os.urandom(1) * GROWTH))
    return {"key": make_entry(made, cache, Path(os.environ[BUNDLE_ENV])).key, "memory": used_bytes()}


_KEPT: list[bytearray] = []

if __name__ == "__main__":
    answer_with_events(_answer)
