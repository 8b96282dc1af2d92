"""Units: the models of a bundle.yaml as pieces of work that any process of any machine can do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as cached
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import files_under, hash_files, tool_versions
from bundler.many import failures, inputs, isolation
from bundler.many.cache import VERSION, Cache, CacheEntry, digest
from bundler.process import environment
from bundler.spec.bundle_spec import parse_spec
from serving.cpu import processor
from serving.extras import packages_of

if TYPE_CHECKING:
    from bundler.pipeline import ModelBuild, Progress
    from bundler.spec.bundle_spec import BundleSpec

_SERVING = ("batching", "max_batch_size", "pad_variable_length_inputs", "fast_path", "mixed_precision")
"""The settings of serving that change what is built."""
VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "TF_DETERMINISTIC_OPS", "SOURCE_DATE_EPOCH")
"""The environment variables that change what is built."""


@dataclass(frozen=True)
class Unit:
    """One model to build. It can be pickled, and says everything that a process on another machine needs besides the files.

    Attributes:
        index: its place in the spec, from 0.
        name: the model's name.
        spec: a bundle.yaml as JSON, with this model alone and the settings of serving that change its artifacts.
        base: the folder that relative paths start from.
        is_only: whether the bundle's build has no other model.
    """

    index: int
    name: str
    spec: str
    base: str
    is_only: bool = False

    @property
    def model(self) -> dict[str, Any]:
        """The model's section."""
        models: list[dict[str, Any]] = json.loads(self.spec)["models"]
        return models[0]

    @property
    def measures(self) -> bool:
        """Whether the build decides by measured times, so that nothing else should run beside it."""
        model, serving = self.model, json.loads(self.spec).get("serving", {})
        return bool(model.get("optimize")) or "precision" in model or bool(serving.get("mixed_precision"))

    def request(self) -> str:
        """Return the digest of what is asked for: the unit, the tools, the CPU and the environment, but not the files."""
        return digest([1, self.spec, self.is_only, dict(tools()), _machine(), variables()])


def units_of(spec: BundleSpec, bases: Mapping[str, Path]) -> list[Unit]:
    """Return the units of a spec, in its order.

    Args:
        spec: the models and settings.
        bases: by model, the folder that relative paths start from.
    """
    serving = spec.serving.model_dump(mode="json", exclude_defaults=True, include=set(_SERVING))
    units = []
    for index, model in enumerate(spec.models):
        section = model.model_dump(mode="json", exclude_defaults=True, exclude={"against"})
        text = json.dumps({"models": [section], "serving": serving}, sort_keys=True)
        units.append(Unit(index, model.name, text, str(bases[model.name].resolve()), len(spec.models) == 1))
    return units


def find_entry(unit: Unit, cache: Cache) -> CacheEntry | None:
    """Return the cache's entry for a unit whose inputs have not changed, or None. It is not checked yet."""
    return cache.find(unit.request(), unit.name, Path(unit.base))


def build_unit(unit: Unit, cache: Cache, progress: Progress) -> CacheEntry:
    """Take one model through its stages, and store the result in the cache.

    Args:
        unit: the model.
        cache: where the result is stored.
        progress: called when a stage starts or ends.

    Raises:
        TfbundleError: a stage failed, or the cache cannot be written.
    """
    base, started = Path(unit.base), time.time_ns()
    with cache.draft() as draft, isolation.isolated(), inputs.recorded() as opened:
        build = _build(unit, draft, progress)
        found = inputs.find_inputs(unit.model, base, opened, (cache.root, draft), cache.hashes)
        result = _result(build, _packages(unit, found))
        request = unit.request()
        key = digest([request, found])
        entry = cache.store(draft / "entry", key, unit.name, result)
    if not _changed_since(found, base, started):
        cache.remember(request, found, key)
    return entry


def _build(unit: Unit, draft: Path, progress: Progress) -> ModelBuild:
    from bundler.pipeline import Target, build_model, make_task
    from bundler.validation.request import find_converter

    base, work, layout = Path(unit.base), draft / "work", BundleLayout(draft / "entry" / "files")
    spec = parse_spec(json.loads(unit.spec), where=unit.name)
    (model,) = spec.models
    work.mkdir()
    layout.root.mkdir(parents=True)
    target = Target(model, VERSION, base, layout, work)
    return build_model(make_task(spec, target, find_converter(model, base), is_only=unit.is_only), progress)


def _result(build: ModelBuild, packages: Mapping[str, str]) -> dict[str, Any]:
    """Return what the entry says about a build, as plain data."""
    record = {**build.record, "build": {**build.record["build"], "packages": dict(packages)}}
    return {
        "record": record,
        "notices": list(build.notices),
        "rejected": [
            {
                "variant": rejected.variant,
                "error": failures.to_json(rejected.error),
                "explained": "\n".join(filter(None, (rejected.explain(), rejected.explain_layers()))),
                "advice": rejected.advice,
            }
            for rejected in build.rejected
        ],
        "missing": [failures.to_json(error) for error in build.missing],
        "choice": build.choice and {**vars(build.choice), "notices": list(build.choice.notices)},
    }


def _packages(unit: Unit, found: inputs.Inputs) -> dict[str, str]:
    """Return the packages of the build: those that this kind of source requires, and those that the user's files import.

    What the process has loaded would tell of earlier units, too.
    """
    from bundler.sources import find_source

    extras = ("serve", "onnx", find_source(unit.model["source"]).extra)
    names = [package for extra in extras for package, _ in packages_of(extra)]
    return environment.required_packages(["tfbundle", *names, *inputs.packages(found)])


def _changed_since(found: inputs.Inputs, base: Path, started: int) -> bool:
    """Return whether an input was written after the build began, so that nobody knows what the build has read."""
    paths = [base / name for name in found if (base / name).exists()]
    files = [file for path in paths for file in (files_under(path) if path.is_dir() else [path])]
    return any(file.stat().st_mtime_ns >= started for file in files)


def variables() -> dict[str, str]:
    """Return the environment variables that change what is built, and are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


@cached
def tools() -> Mapping[str, str]:
    """Return the versions of the tools; that of tfbundle is the digest of its files, as a checkout changes without a version."""
    names = {package for extra in ("serve", "onnx", "build", "timm", "hf") for package, _ in packages_of(extra)}
    root = Path(__file__).resolve().parents[2]
    files = [file for package in ("bundler", "serving") for file in files_under(root / package)]
    files = [file for file in files if "__pycache__" not in file.parts]
    own = digest({path: entry.sha256 for path, entry in hash_files(root, filter(Path.is_file, files)).items()})
    with environment.without_packages_of_ray():
        return {**environment.required_packages(["tfbundle", *names]), **tool_versions(), "files of tfbundle": own}


@lru_cache(maxsize=1)
def _machine() -> list[str]:
    """Return the CPU and its features, which change the last digits of results and what is measured."""
    import platform

    from serving.cpu import flags

    return [platform.system(), platform.machine(), processor(), *sorted(flags())]
