"""A build of many models: what the cache lacks is built by an engine, and all that succeeded is published at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.bundle.staging import Staging
from bundler.errors import ModelsError, TfbundleError, UsageError, VariantsError
from bundler.many.cache import Cache, CorruptEntryError, corrupted
from bundler.many.engine import Engine, Hooks, Outcome
from bundler.many.placement import current_version, place, read
from bundler.many.units import Unit, find_entry, units_of
from bundler.pipeline import ModelBuild, Target, plan, publish_builds
from bundler.process import garbage
from bundler.validation.request import check_models
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.bundle.manifest import Manifest
    from bundler.spec.bundle_spec import BundleSpec
    from bundler.validation.bundle import Bundle


@dataclass(frozen=True)
class Models:
    """The models of one bundle.yaml or of several.

    Attributes:
        spec: all models, and the settings of the bundle.
        parts: each file's spec, with the folder that its relative paths start from.
    """

    spec: BundleSpec
    parts: tuple[tuple[BundleSpec, Path], ...]

    @property
    def bases(self) -> dict[str, Path]:
        """By model, the folder that its relative paths start from."""
        return {model.name: base for spec, base in self.parts for model in spec.models}

    def check(self) -> None:
        """Check every model before the first one is built.

        Raises:
            TfbundleError: as `bundler.validation.request.check_models` does.
        """
        if not self.spec.models:
            raise UsageError("There is no model to build.", fix="add one under 'models' in bundle.yaml", code="TFB1103")
        for spec, base in self.parts:
            check_models(spec, base)


@dataclass(frozen=True)
class Many:
    """The result of a build of many models.

    Attributes:
        bundle: the published bundle.
        outcomes: the outcome of every model, in the order of the spec.
    """

    bundle: Bundle
    outcomes: tuple[Outcome, ...]


@garbage.collected_seldom()
def build_many(models: Models, out: Path, engine: Engine, cache: Cache, hooks: Hooks, *, version: int | None = None) -> Many:
    """Build every model as a new version in the bundle at `out`.

    Args:
        models: the models.
        out: the bundle's folder.
        engine: what builds those models that the cache does not have.
        cache: where results are kept.
        hooks: what is told while the models are built.
        version: number of the new versions; None: the next free number of each model.

    Raises:
        ModelsError: some models failed; the others were published, if there are any.
        VariantsError: some TFLite variants could not be made or are below their gate; the bundle was published without them.
        ComparisonError: a model is worse than its version in service; the bundle is unchanged.
        TfbundleError: nothing could be built; the bundle is unchanged.
    """
    models.check()
    cache.prepare()
    units = units_of(models.spec, models.bases)
    with Staging(out) as staging:
        targets = plan(models.spec, staging, models.bases, version)
        publication = Publication(models.spec, staging, targets, renews=version is not None)
        for outcome in run_units(units, engine, cache, hooks):
            try:
                publication.add(outcome)
            except CorruptEntryError as exc:
                assert outcome.entry is not None
                cache.discard(outcome.entry)
                raise corrupted(outcome.entry, exc) from exc
        return publication.publish(hooks)


def run_units(units: Sequence[Unit], engine: Engine, cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
    """Yield the outcomes of units: first of those that the cache has, then of the others as the engine builds them.

    A damaged entry is told, removed, and built again.
    """
    missing = []
    for unit in units:
        entry = find_entry(unit, cache)
        if entry is None:
            missing.append(unit)
            continue
        try:
            entry.check()
        except CorruptEntryError as exc:
            hooks.notice(f"{unit.name}: its cache entry is damaged ({exc}); the model is built again.")
            cache.discard(entry)
            missing.append(unit)
            continue
        yield _told(Outcome(unit, entry, is_cached=True), hooks)
    if missing:
        for outcome in engine.run(missing, cache, hooks):
            yield _told(outcome, hooks)


def _told(outcome: Outcome, hooks: Hooks) -> Outcome:
    hooks.ended(outcome)
    return outcome


class Publication:
    """Models that are put into a bundle's staging folder one by one, and then published at once."""

    def __init__(self, spec: BundleSpec, staging: Staging, targets: Sequence[Target], *, renews: bool = False) -> None:
        """Begin with no model.

        Args:
            spec: all models, and the settings of the bundle.
            staging: the build's private folder.
            targets: where the artifacts of each model go.
            renews: whether a model gets a new version even if its latest one is the same.
        """
        self._spec = spec
        self._staging = staging
        self._targets = list(targets)
        self._renews = renews
        self._outcomes: dict[int, Outcome] = {}
        self._builds: dict[int, ModelBuild] = {}

    def add(self, outcome: Outcome) -> None:
        """Put the result of a unit into the staging folder, unless the model's latest version is the same.

        Raises:
            CorruptEntryError: the entry has been damaged since it was made or checked.
        """
        index, entry, before = outcome.unit.index, outcome.entry, self._staging.manifest
        self._outcomes[index] = outcome
        if entry is None:
            return
        same = None if self._renews else current_version(entry, before)
        if same is None:
            self._builds[index] = place(entry, self._targets[index])
            return
        assert before is not None
        self._targets[index] = replace(self._targets[index], version=same, is_new=False)
        self._builds[index] = replace(read(entry, self._targets[index]), record=before.models[entry.name][same])

    def publish(self, hooks: Hooks) -> Many:
        """Publish what was added, and raise an error for the models that failed.

        Raises:
            ModelsError, VariantsError, ComparisonError, TfbundleError: as `build_many` does.
        """
        outcomes = tuple(self._outcomes[index] for index in sorted(self._outcomes))
        failed = {outcome.unit.name: outcome.error for outcome in outcomes if outcome.error is not None}
        if not self._builds:
            raise _none_built(failed)
        order = sorted(self._builds)
        targets, builds = [self._targets[index] for index in order], [self._builds[index] for index in order]
        if same := sum(not target.is_new for target in targets):
            verb = "is" if same == 1 else "are"
            hooks.notice(f"{plural(same, 'model')} {verb} as in the latest version, so there is no new one.")
        spec = _without(self._spec, failed, self._staging.manifest)
        variants: VariantsError | None = None
        try:
            bundle = publish_builds(spec, self._staging, targets, builds, hooks.progress, failures=failed)
        except VariantsError as exc:
            variants, bundle = exc, exc.bundle  # type: ignore[assignment]
        if failed:
            raise _models_error(failed, len(outcomes), bundle, outcomes, variants)
        if variants:
            raise variants
        return Many(bundle, outcomes)


def _without(spec: BundleSpec, failed: Mapping[str, TfbundleError], before: Manifest | None) -> BundleSpec:
    """Return the spec of those models that were built. Labels and versions of the others stay as they are in the bundle."""
    if not failed:
        return spec
    models = tuple(model for model in spec.models if model.name not in failed)
    old = before.spec["serving"] if before else {}
    changed = {}
    for key in ("labels", "versions"):
        ours = {name: value for name, value in getattr(spec.serving, key).items() if name not in failed}
        kept = {name: value for name, value in old.get(key, {}).items() if name in failed}
        if {**ours, **kept} != getattr(spec.serving, key):
            changed[key] = {**ours, **kept}
    serving = spec.serving.model_copy(update=changed) if changed else spec.serving
    stated = {"serving": serving} if changed else {}
    return spec.model_copy(update={"models": models, **stated})


def _none_built(failed: Mapping[str, TfbundleError]) -> TfbundleError:
    if len(failed) == 1:
        return next(iter(failed.values()))
    return ModelsError(_listed(f"None of {plural(len(failed), 'model')} could be built, and nothing was published:", failed),
                       exit_code=common_exit_code(failed.values()))  # fmt: skip


def _models_error(
    failed: Mapping[str, TfbundleError], total: int, bundle: object, outcomes: tuple[Outcome, ...], variants: VariantsError | None
) -> ModelsError:
    what = _listed(f"{len(failed)} of {plural(total, 'model')} failed; the others were published:", failed)
    if variants:
        what = f"{what}\n{variants.what}"
    error = ModelsError(
        what,
        exit_code=common_exit_code(failed.values()),
        fix="correct these models and repeat the command; the others come from the cache",
    )
    error.bundle, error.outcomes = bundle, outcomes
    return error


_SHOWN = 10


def _listed(heading: str, failed: Mapping[str, TfbundleError]) -> str:
    reasons = {name: error.what.splitlines()[0] + (f" [{error.code}]" if error.code else "") for name, error in failed.items()}
    lines = [f"    {name}: {reason}" for name, reason in reasons.items()]
    more = [f"    and {len(lines) - _SHOWN} more, which the report lists"] if len(lines) > _SHOWN else []
    return "\n".join([heading, *lines[:_SHOWN], *more])


def common_exit_code(errors: Iterable[TfbundleError]) -> int:
    """Return the exit code of a command in which models have failed: that of the errors, or 1 if they differ."""
    codes = {error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else 1
