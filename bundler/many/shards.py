"""Shards: the parts of a build of many models that different machines do, and how they become one bundle.

    shard-2-of-3/
        shard.json        the whole spec, which models this shard has, and size and sha256 of every other file; written last
        entries/<key>/    the results, as in the cache

Shard i of n has the models whose place in the spec, from 0, is i - 1 modulo n. A folder without shard.json is none: whatever was
killed while it wrote one is repeated.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bundler.bundle.manifest import FileEntry, files_under, hash_files, tool_versions
from bundler.bundle.staging import Staging, unwritable
from bundler.errors import UsageError, VerifyError
from bundler.many import failures
from bundler.many.build import Many, Models, Publication, run_units
from bundler.many.cache import Cache, CacheEntry, CorruptEntryError, digest
from bundler.many.engine import Engine, Hooks, Outcome
from bundler.many.units import Unit, units_of
from bundler.pipeline import plan
from bundler.spec.bundle_spec import parse_spec
from bundler.values.portable_paths import PortablePaths
from serving.regular_file import open_regular
from serving.texts import plural, shell_command

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import BundleSpec

SCHEMA = "tfbundle-shard/1"
FILE = "shard.json"
INDEX_ENV = "JOB_COMPLETION_INDEX"
"""The number of a pod of an Indexed Job, from 0 (kubernetes.io/docs/concepts/workloads/controllers/job, "Completion mode")."""
LARGEST_INDEX = 64 << 20
"""The most bytes of a shard.json that are read."""
_FORM = re.compile(r"(?P<number>\d{1,6}|job)/(?P<total>\d{1,6})")


@dataclass(frozen=True)
class Shard:
    """Which part of the models is built: number `number` of `total`, from 1."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/3`, or `job/3` for the part that an Indexed Job of Kubernetes gives to this pod.

        Raises:
            UsageError: the text has another form, the number is out of range, or there is no Indexed Job.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise _no_shard(text)
        number = match["number"]
        if number == "job":
            index = os.environ.get(INDEX_ENV, "")
            if not index.isdecimal():
                raise UsageError(
                    f"--shard {text} takes its number from {INDEX_ENV}, which is {index!r}.",
                    fix=f"run it in an Indexed Job of Kubernetes, or give the number: --shard 1/{match['total']}",
                    code="TFB5207",
                )
            number = str(int(index) + 1)
        shard = cls(int(number), int(match["total"]))
        if not 1 <= shard.number <= shard.total:
            raise _no_shard(text)
        return shard

    @property
    def name(self) -> str:
        """The name of its folder: `shard-2-of-3`."""
        return f"shard-{self.number}-of-{self.total}"

    def has(self, unit: Unit) -> bool:
        """Return whether a unit is of this part."""
        return unit.index % self.total == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def _no_shard(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a shard.", fix="give its number and how many there are, such as --shard 1/4", code="TFB5207"
    )


@dataclass(frozen=True)
class ShardFolder:
    """A shard on this machine.

    Attributes:
        shard: which part of the models it has.
        folder: its folder.
        digest: digest of the spec that it was built from.
        spec: the models of that spec and the sections that its bundle.yaml had, as plain data.
        tools: versions of the tools.
        models: by name: its place in the spec, and the key of its entry or its error.
        files: size and sha256 of every file but shard.json.
        shown: what the user calls it.
    """

    shard: Shard
    folder: Path
    digest: str
    spec: dict[str, Any]
    tools: dict[str, str]
    models: dict[str, dict[str, Any]]
    files: dict[str, FileEntry] = field(default_factory=dict)
    shown: str = ""

    @classmethod
    def read(cls, folder: Path, shown: str = "") -> ShardFolder:
        """Read the shard.json of a folder.

        Raises:
            VerifyError: there is none, or a damaged one.
        """
        shown = shown or str(folder)
        try:
            with open_regular(folder / FILE, follow=False) as file:
                return cls.parse(file.read(LARGEST_INDEX), folder, shown)
        except FileNotFoundError as exc:
            raise VerifyError(
                f"{shown} is not a shard: it has no {FILE}.",
                fix="give the folders or addresses that builds with --shard wrote; a build that was killed has to be repeated",
                code="TFB5208",
            ) from exc
        except OSError as exc:
            raise damaged_shard(shown, f"{FILE} cannot be read ({exc.strerror or exc})") from exc

    @classmethod
    def parse(cls, data: bytes, folder: Path, shown: str) -> ShardFolder:
        """Return the shard that the content of a shard.json describes.

        Raises:
            VerifyError: it is damaged.
        """
        try:
            content = json.loads(data.decode("utf-8"))
            stated = content.pop("checksum")
            if content["schema"] != SCHEMA:
                raise damaged_shard(shown, f"it has the schema {content['schema']!r}, and this tfbundle reads {SCHEMA!r}")
            if stated != digest(content):
                raise damaged_shard(shown, f"the checksum of {FILE} does not match its content")
            files = {path: FileEntry(size, sha256) for path, (size, sha256) in content["files"].items()}
            shard = Shard(int(content["shard"]), int(content["of"]))
            unsafe = next((path for path in files if not _is_inside(path)), None)
            if unsafe is not None:
                raise damaged_shard(shown, f"it lists {unsafe!r}, which is not the path of a file in it")
            return cls(shard, folder, content["digest"], content["spec"], content["tools"], content["models"], files, shown)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise damaged_shard(shown, f"{FILE} is incomplete ({type(exc).__name__})") from exc

    def entry(self, name: str) -> CacheEntry:
        """Return the result of a model."""
        key = self.models[name]["key"]
        return CacheEntry(key, self.folder / "entries" / key, name)

    def check(self) -> None:
        """Compare every file with its checksum.

        Raises:
            VerifyError: a file is missing or has another content.
        """
        for path, entry in self.files.items():
            file = self.folder / path
            if not file.is_file() or FileEntry.of(file, follow=False) != entry:
                raise damaged_shard(self.shown, f"{path} is not as it was written")


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return path == "/".join(parts) and parts[:1] == ("entries",) and not {"..", "."} & {*parts} and "\0" not in path


def damaged_shard(shown: str, how: str) -> VerifyError:
    """Return the error for a shard that is not as it was written."""
    return VerifyError(
        f"The shard {shown} is damaged: {how}.",
        fix="build that shard again with --shard; what is in its cache needs no work",
        code="TFB5209",
    )


def build_shard(
    models: Models, shard: Shard, out: Path, engine: Engine, cache: Cache, hooks: Hooks
) -> tuple[ShardFolder, tuple[Outcome, ...]]:
    """Build a part of the models, and write them as the folder `shard-I-of-N` in `out`.

    A shard of the same spec that is there already is replaced; models that fail are noted in it.

    Args:
        models: all models.
        shard: which of them are built.
        out: the folder of all shards.
        engine: what builds those models that the cache does not have.
        cache: where results are kept.
        hooks: what is told while the models are built.

    Raises:
        TfbundleError: nothing could be built, or the folder cannot be written.
    """
    models.check()
    cache.prepare()
    units = [unit for unit in units_of(models.spec, models.bases) if shard.has(unit)]
    outcomes = {outcome.unit.index: outcome for outcome in run_units(units, engine, cache, hooks)}
    folder = out / shard.name
    draft = out / f".{shard.name}-{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        rows = {}
        for unit in units:
            outcome = outcomes[unit.index]
            rows[unit.name] = {"index": unit.index, **_row(outcome, draft)}
        _write_index(draft, _portable(models), shard, rows)
        _replace(folder, draft)
    except OSError as exc:
        raise unwritable(exc, out) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return ShardFolder.read(folder), tuple(outcomes[unit.index] for unit in units)


def _row(outcome: Outcome, draft: Path) -> dict[str, Any]:
    if outcome.entry is None:
        assert outcome.error is not None
        return {"error": failures.to_json(outcome.error)}
    target = draft / "entries" / outcome.entry.key
    shutil.copytree(outcome.entry.folder, target)
    try:
        CacheEntry(outcome.entry.key, target, outcome.unit.name).check()
    except CorruptEntryError as exc:
        raise damaged_shard(str(draft), f"{outcome.unit.name}: {exc}") from exc
    return {"key": outcome.entry.key}


def _portable(models: Models) -> dict[str, Any]:
    """Return the spec as plain data without paths of this machine, with those sections that the user stated."""
    spec = models.spec.model_dump(mode="json", exclude_unset=True)
    spec["models"] = [PortablePaths(models.bases[model["name"]]).value(model) for model in spec["models"]]
    return spec


def _write_index(folder: Path, spec: dict[str, Any], shard: Shard, rows: dict[str, dict[str, Any]]) -> None:
    files = {path: [entry.size, entry.sha256] for path, entry in hash_files(folder, files_under(folder)).items()}
    content = {
        "schema": SCHEMA, "shard": shard.number, "of": shard.total, "digest": digest(spec), "spec": spec,
        "tools": tool_versions(), "models": rows, "files": files,
    }  # fmt: skip
    text = json.dumps({**content, "checksum": digest(content)}, sort_keys=True, indent=1)
    (folder / FILE).write_text(text + "\n", "utf-8")


def _replace(folder: Path, draft: Path) -> None:
    aside = draft.with_name(f"{draft.name}-old")
    if folder.exists():
        folder.replace(aside)
    draft.replace(folder)
    shutil.rmtree(aside, ignore_errors=True)


def find_shards(folders: Iterable[Path]) -> list[ShardFolder]:
    """Return the shards in folders; a folder that is no shard may hold some.

    Raises:
        VerifyError: a folder is neither, or a shard.json is damaged.
    """
    found = []
    for folder in folders:
        below = sorted(folder.glob(f"shard-*-of-*/{FILE}")) if not (folder / FILE).exists() else []
        found += [ShardFolder.read(path.parent) for path in below] or [ShardFolder.read(folder)]
    return found


def merge(shards: Sequence[ShardFolder], out: Path, hooks: Hooks, *, version: int | None = None) -> Many:
    """Publish the models of all shards as new versions in the bundle at `out`.

    Args:
        shards: all shards of a build, in any order.
        out: the bundle's folder.
        hooks: what is told meanwhile.
        version: number of the new versions; None: the next free number of each model.

    Raises:
        UsageError: a shard is missing, given twice, or of another build.
        VerifyError: a shard is damaged; the bundle is unchanged.
        PublishError: another command writes the bundle, or it cannot be written.
        ModelsError: some models failed in their shards; the others were published.
    """
    _check_set(shards)
    spec = _spec(shards[0])
    for shard in shards:
        shard.check()
    places = {name: shard for shard in shards for name in shard.models}
    bases = {model.name: Path.cwd() for model in spec.models}
    units = units_of(spec, bases)
    with Staging(out) as staging:
        publication = Publication(spec, staging, plan(spec, staging, bases, version), renews=version is not None)
        for unit in units:
            shard = places[unit.name]
            try:
                publication.add(_outcome(unit, shard))
            except CorruptEntryError as exc:
                raise damaged_shard(shard.shown, f"{unit.name}: {exc}") from exc
        return publication.publish(hooks)


def _outcome(unit: Unit, shard: ShardFolder) -> Outcome:
    row = shard.models[unit.name]
    if "error" in row:
        return Outcome(unit, error=failures.from_json(row["error"]))
    return Outcome(unit, shard.entry(unit.name), is_cached=True)


def _spec(shard: ShardFolder) -> BundleSpec:
    return parse_spec(shard.spec, where=f"{shard.shown}/{FILE}")


def _check_set(shards: Sequence[ShardFolder]) -> None:
    """Raise UsageError unless these are all shards of one build, each once."""
    first = shards[0]
    for shard in shards[1:]:
        if shard.digest != first.digest or shard.shard.total != first.shard.total:
            raise _refused(f"{shard.shown} and {first.shown} differ in their bundle.yaml or in the number of shards.")
        if shard.tools != first.tools:
            changed = sorted(name for name in {*shard.tools, *first.tools} if shard.tools.get(name) != first.tools.get(name))
            raise _refused(f"{shard.shown} and {first.shown} were built with different versions of {', '.join(changed)}.")
    numbers = [shard.shard.number for shard in shards]
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise _refused(f"Shard {twice[0]}/{first.shard.total} was given {numbers.count(twice[0])} times.")
    if missing := sorted(set(range(1, first.shard.total + 1)) - set(numbers)):
        listed = ", ".join(f"{number}/{first.shard.total}" for number in missing)
        verb = "is" if len(missing) == 1 else "are"
        raise _refused(
            f"{plural(len(missing), 'shard')} of {first.shard.total} {verb} missing: {listed}.",
            fix=f"build the missing ones, e.g. with --shard {missing[0]}/{first.shard.total}, and give all",
        )
    names = [name for shard in shards for name in shard.models]
    if sorted(names) != sorted(model["name"] for model in first.spec["models"]):
        raise _refused("The shards do not have every model of their bundle.yaml exactly once.")


def _refused(what: str, fix: str | None = None) -> UsageError:
    example = shell_command("tfbundle", "merge", "-o", "dist/all", "shards/shard-1-of-2", "shards/shard-2-of-2")
    return UsageError(what, fix=fix or f"give every shard of one build once, e.g. `{example}`", code="TFB5210")

