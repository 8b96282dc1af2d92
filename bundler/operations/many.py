"""Builds of many models: from bundle.yaml files to a bundle, to a shard, and from shards to a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.delivery.stores.mirror import Shown, quietly
from bundler.errors import SpecError, UsageError
from bundler.many.build import Many, Models, build_many, common_exit_code
from bundler.many.cache import Cache
from bundler.many.engine import Hooks, Outcome
from bundler.many.processes import ProcessEngine
from bundler.many.shards import Shard, build_shard, find_shards, merge
from bundler.many.units import units_of
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.model_names import is_pattern, matching
from bundler.values.addresses import is_remote

if TYPE_CHECKING:
    from bundler.many.engine import Engine
    from bundler.spec.request import BuildRequest

_SECTIONS = ("serving", "kubernetes", "docker")


@dataclass(frozen=True)
class ManyOptions:
    """How many models are built.

    Attributes:
        jobs: how many processes; None: one.
        cache: folder of the cache; None: the usual one.
        shard: the part that is built; None: all models.
        insecure: speak plain HTTP with a registry on this machine.
        on: the Ray cluster that builds; None: this machine.
    """

    jobs: int | None = None
    cache: Path | None = None
    shard: str | None = None
    insecure: bool = False
    on: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether one of them was given, so that models are built as units of work."""
        return (self.jobs, self.cache, self.shard, self.on) != (None, None, None, None)

    def part(self) -> Shard:
        """Return the part that is built.

        Raises:
            UsageError: it has not the form I/N.
        """
        return Shard.parse(self.shard or "1/1")

    def count(self, models: Models) -> int:
        """Return how many of the models are built."""
        return sum(map(self.part().has, units_of(models.spec, models.bases)))

    def engine(self) -> Engine:
        """Return what runs the units.

        Raises:
            UsageError: `on` is not the address of a cluster.
        """
        if self.on is None:
            return ProcessEngine(self.jobs or 1)
        from bundler.many.cluster.engine import RayEngine
        from bundler.many.cluster.session import check_address

        return RayEngine(check_address(self.on), self.jobs)


def expanded(sources: Sequence[str]) -> list[str]:
    """Return sources with the files that patterns match, such as `nets/*/bundle.yaml`.

    Raises:
        SpecError: a pattern matches no file.
        UsageError: there are several, and not all of them are bundle.yaml files.
    """
    found: list[str] = []
    for source in sources:
        if not is_pattern(source, Path()):
            found.append(source)
            continue
        files = matching(source, Path())
        if not files:
            raise SpecError(f"{source} matches no file.", fix="check the pattern, or give a file", code="TFB5206")
        found += files
    wrong = [source for source in found if not source.endswith((".yaml", ".yml"))]
    if len(found) > 1 and wrong:
        raise UsageError(
            f"Several sources have to be bundle.yaml files, but {wrong[0]} is not.",
            fix="write a bundle.yaml with `source: exports/*.onnx`, or build the models one by one",
            code="TFB1001",
        )
    return found


def models_of(requests: Sequence[BuildRequest]) -> Models:
    """Return the models of one or several bundle.yaml files, which become one bundle.

    Raises:
        SpecError: two files have a model of the same name, or state a section differently.
    """
    if len(requests) == 1:
        return Models(requests[0].spec, ((requests[0].spec, requests[0].base),))
    data: dict[str, Any] = {"models": []}
    owners: dict[str, Path] = {}
    for request in requests:
        for model in request.spec.models:
            if model.name in owners:
                raise SpecError(
                    f"Two bundle.yaml files have a model {model.name!r}.",
                    where=f"{owners[model.name]} and {request.base}",
                    fix="give every model a name of its own",
                    code="TFB5211",
                )
            owners[model.name] = request.base
            data["models"].append(model)
        _add_sections(data, request)
    return Models(parse_spec(data, where="the bundle.yaml files"), tuple((request.spec, request.base) for request in requests))


def _add_sections(data: dict[str, Any], request: BuildRequest) -> None:
    """Add the sections that a file states besides its models."""
    for key in _SECTIONS:
        if key in request.spec.model_fields_set:
            section = getattr(request.spec, key)
            if data.setdefault(key, section) != section:
                raise SpecError(
                    f"Two bundle.yaml files state the section {key!r} differently.",
                    where=str(request.base),
                    fix=f"state {key} in one of the files only",
                    code="TFB5211",
                )


def build(models: Models, out: Path, options: ManyOptions, hooks: Hooks, version: int | None = None) -> Many:
    """Build models as new versions in the bundle at `out`, as `bundler.many.build.build_many` does."""
    return build_many(models, out, options.engine(), Cache(options.cache), hooks, version=version)


@dataclass(frozen=True)
class Part:
    """A shard that was built.

    Attributes:
        name: its number and how many there are: `2/3`.
        where: its folder or address.
        all_shards: the folder or address of all shards of the build.
        outcomes: the outcome of each of its models.
    """

    name: str
    where: str
    all_shards: str
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """The exit code of a command that built it: 0, or that of the models that failed."""
        errors = [outcome.error for outcome in self.outcomes if outcome.error is not None]
        return common_exit_code(errors) if errors else 0


def build_part(models: Models, out: str, options: ManyOptions, hooks: Hooks, shown: Shown = quietly) -> Part:
    """Build the models of a shard, and write it into a folder or to an address.

    Args:
        models: all models.
        out: the folder or address of all shards of the build.
        options: the shard, and how it is built.
        hooks: what is told while the models are built.
        shown: shows the progress of an upload.

    Raises:
        TfbundleError: as `bundler.many.shards.build_shard` and `bundler.operations.shard_transfer.upload` do.
    """
    shard = options.part()
    with tempfile.TemporaryDirectory(prefix="tfbundle-shard-") as scratch:
        folder = Path(scratch) if is_remote(out) else Path(out)
        made, outcomes = build_shard(models, shard, folder, options.engine(), Cache(options.cache), hooks)
        where = str(made.folder)
        if is_remote(out):
            from bundler.operations.shard_transfer import upload

            with shown() as progress:
                where = upload(made, out, insecure=options.insecure, progress=progress)
    return Part(str(shard), where, out, outcomes)


@dataclass(frozen=True)
class Places:
    """Where shards are.

    Attributes:
        names: folders and addresses of shards, or of all shards of a build.
        insecure: speak plain HTTP with a registry on this machine.
        wait_s: how long to wait for shards that are still being built.
    """

    names: tuple[str, ...]
    insecure: bool = False
    wait_s: float = 0.0


def merge_shards(
    places: Places, out: Path, hooks: Hooks, *, version: int | None = None, shown: Shown = quietly
) -> Many:
    """Publish the models of shards as new versions in the bundle at `out`, as `bundler.many.shards.merge` does.

    Args:
        places: where the shards are.
        out: the bundle's folder.
        hooks: what is told meanwhile.
        version: number of the new versions; None: the next free number of each model.
        shown: shows the progress of downloads.

    Raises:
        TfbundleError: as `bundler.many.shards.merge` and `bundler.operations.shard_transfer.download` do.
    """
    if places.wait_s:
        from bundler.operations.shard_wait import wait

        wait(places.names, places.wait_s, hooks.notice, insecure=places.insecure)
    with tempfile.TemporaryDirectory(prefix="tfbundle-merge-") as scratch:
        folders = []
        for place in places.names:
            if not is_remote(place):
                folders.append(Path(place))
                continue
            from bundler.operations.shard_transfer import download

            with shown() as progress:
                folders += download(place, Path(scratch), insecure=places.insecure, progress=progress)
        return merge(find_shards(folders), out, hooks, version=version)


__all__ = ["Hooks", "ManyOptions", "Outcome", "Part", "build", "build_part", "expanded", "merge_shards", "models_of"]
