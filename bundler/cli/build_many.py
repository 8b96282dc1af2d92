"""tfbundle build with --jobs, --cache, --shard, --on or several files: models as units of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.comparisons import show_comparisons, worst
from bundler.cli.output import note, opener, print_json, say, say_next, size, table
from bundler.cli.progress import models as models_progress
from bundler.cli.progress import transfers
from bundler.cli.remote import changed_folder
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.cli.target import Target
    from bundler.operations.many import ManyOptions, Outcome
    from bundler.spec.request import BuildRequest
    from bundler.validation.bundle import Bundle


def build_many(requests: Sequence[BuildRequest], options: ManyOptions, target: Target) -> None:
    """Build the models of all requests, and print what became of each."""
    from bundler.errors import UsageError
    from bundler.operations.many import build, models_of
    from bundler.validation.against import files_in_service

    if target.adopt:
        raise UsageError(
            "--adopt cannot be combined with --jobs, --cache, --shard, --on or several files.",
            fix="adopt the model repository first, with a build of one model and --adopt alone",
            code="TFB1001",
        )
    if options.shard is not None:
        _build_shard(requests, options, target)
        return
    models = models_of(requests)
    kept = f"nothing was published; {target.out} is unchanged, and finished models are in the cache."
    opened = changed_folder(target.out, may_be_new=True, also=files_in_service(models.spec))
    with shown_failures(target):
        with cleanly_interrupted(kept), opened as folder, models_progress(len(models.spec.models)) as hooks:
            many = build(models, folder, options, hooks, target.version)
        show(many.bundle, many.outcomes, target)


def _build_shard(requests: Sequence[BuildRequest], options: ManyOptions, target: Target) -> None:
    """Build a part of the models, and print where it is; exit with the code of the failures if there are any."""
    from bundler.operations.many import build_part, models_of

    models = models_of(requests)
    kept = "the shard was not written; finished models are in the cache."
    with cleanly_interrupted(kept), models_progress(options.count(models)) as hooks:
        part = build_part(models, target.out, options, hooks, transfers)
    if target.as_json:
        print_json({"shard": part.name, "written": part.where, "models": _rows(part.outcomes)})
    else:
        _summary(part.outcomes)
        say(f"Shard {part.name}: {part.where}")
        say_next(("tfbundle", "merge", "-o", "DIR", part.all_shards))
    if part.exit_code:
        raise typer.Exit(part.exit_code)


@contextmanager
def shown_failures(target: Target) -> Iterator[None]:
    """Return a context in which an error that has a bundle shows it first, and a refused comparison its figures."""
    from bundler.errors import ComparisonError, ModelsError, VariantsError

    try:
        yield
    except (ModelsError, VariantsError) as exc:
        if exc.bundle is not None:
            show(cast("Bundle", exc.bundle), cast("tuple[Outcome, ...]", getattr(exc, "outcomes", ())), target)
        raise
    except ComparisonError as exc:
        show_comparisons(exc, target)
        raise


def show(bundle: Bundle, outcomes: Sequence[Outcome], target: Target) -> None:
    """Print a table of all models, and the next commands for the bundle."""
    for notice in bundle.notices:
        note(notice)
    if target.report is not None:
        target.report.write_bytes(bundle.layout.report.read_bytes())
    if target.as_json:
        print_json({**bundle.inspect(), "build": _rows(outcomes)})
        return
    built = {outcome.unit.name: outcome for outcome in outcomes if outcome.entry is not None}
    rows = [_row(bundle, name, built[name]) for name in bundle.models() if name in built]
    table(("model", "version", "size", "max relative error", "TFLite", "time"), rows)
    _summary(outcomes)
    say(f"Bundle: {target.out}")
    say_next(("tfbundle", "serve", target.out), ("tfbundle", "verify", target.out), (opener(), target.shown_report), column=7)


def _row(bundle: Bundle, name: str, outcome: Outcome) -> tuple[str, ...]:
    version = bundle.versions(name)[-1]
    record = bundle.record(name, version)
    precision = "saved_model-bfloat16" if (record.get("precision") or {}).get("passed") else "saved_model"
    time = "cached" if outcome.is_cached else f"{outcome.seconds:.1f} s"
    variants = ", ".join(record["tflite"])
    return (name, str(version), size(bundle.size_bytes(name, version)), worst(record, precision), variants, time)


def _rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the outcomes as plain data for --json."""
    return [
        {
            "model": outcome.unit.name,
            "outcome": "failed" if outcome.error else "cached" if outcome.is_cached else "built",
            "seconds": round(outcome.seconds, 3),
            **({"error": outcome.error.what, "code": outcome.error.code or None} if outcome.error else {}),
        }
        for outcome in outcomes
    ]


def _summary(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    failed = sum(outcome.error is not None for outcome in outcomes)
    cached = sum(outcome.is_cached for outcome in outcomes)
    built = len(outcomes) - failed - cached
    say(f"{plural(len(outcomes), 'model')}: {built} built, {cached} from the cache, {failed} failed")
