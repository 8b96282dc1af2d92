"""tfbundle bench --advise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bundler.cli.output import note, print_json, say, say_next, size, table
from serving.texts import plural

if TYPE_CHECKING:
    from pathlib import Path

    from bundler.operations.forms import FoundForms
    from bundler.validation.bundle import Bundle
    from serving.advise.trials import Advice, Goal, Trial
    from serving.bench.plot import Choice
    from serving.client.prepared_request import PreparedRequest


@dataclass(frozen=True)
class AdviseOptions:
    """What a search is made with.

    Attributes:
        bundles: the bundles that hold the forms.
        folder: where the files are written.
        model: the model; None for the only one of the requests.
        version: the version; None for the latest.
        clients: number of concurrent clients.
        seconds: how long each server is loaded for a candidate.
        goal: what the best candidate is chosen by.
        plot: where the plot is written, if one is wanted.
        spec: the bundle.yaml to update, if one is given.
        allow_unsafe_ops: whether models that reach out of the graph are served.
        as_json: whether the result is printed as JSON.
    """

    bundles: Sequence[Path]
    folder: Path
    model: str | None
    version: int | None
    clients: int
    seconds: float
    goal: Goal
    plot: Path | None
    spec: Path | None
    allow_unsafe_ops: bool
    as_json: bool


def advise(options: AdviseOptions, requests: Sequence[PreparedRequest]) -> None:
    """Search for the best form and settings, print what was tried, and write the files.

    Args:
        options: the parameters, which have been checked.
        requests: the requests of the load.
    """
    from bundler.operations.forms import find_forms, judge_of
    from bundler.validation.bundle import Bundle
    from serving.advise import search

    bundles = {path: Bundle.open(path) for path in options.bundles}
    first = bundles[options.bundles[0]]
    _refuse_unsafe(bundles.values(), options)
    mix = _mix(first, requests, options)
    found = find_forms(bundles, mix.model, options.version)
    judge = judge_of(first, mix.model, options.version)
    allowed = ("--allow_unsafe_ops=true",) if options.allow_unsafe_ops else ()
    pads = _pads(first, mix.model, options)
    plan = search.Plan(options.clients, options.goal, options.seconds, pads, allowed)
    note(f"{mix.model}, {mix}, {plural(plan.clients, 'client')}; each candidate and {found.forms[0]} without flags take turns:")
    advice = search.advise(found.forms, mix, plan, judge, _watcher())
    _show(advice, found, options)


def _refuse_unsafe(bundles: Iterable[Bundle], options: AdviseOptions) -> None:
    from bundler.validation.unsafe import refuse_unsafe

    if not options.allow_unsafe_ops:
        for bundle in bundles:
            refuse_unsafe(bundle, {model: bundle.versions(model) for model in bundle.models()})


def _mix(bundle: Bundle, requests: Sequence[PreparedRequest], options: AdviseOptions) -> Any:
    """Return the requests as a mix for one model; the server chooses the version, unless one is given."""
    from bundler.errors import UsageError
    from serving.advise.mix import RequestMix

    models = sorted({request.model for request in requests})
    wanted = options.model or (models[0] if len(models) == 1 else None)
    if wanted is None or wanted not in bundle.models():
        raise UsageError(
            f"The requests are for {', '.join(models)}, and the bundle has {', '.join(bundle.models())}.",
            fix="choose one model of both with --model",
            code="TFB1006",
        )
    own = [replace(request, version=options.version) for request in requests if request.model == wanted]
    return RequestMix(tuple(own))


def _pads(bundle: Bundle, model: str, options: AdviseOptions) -> bool:
    """Return whether the build found that padding changes no answer."""
    padded = bundle.record(model, options.version).get("parity", {}).get("padded", {})
    return bool(padded) and not any(answers.get("changes") for answers in padded.values())


def _watcher() -> Any:
    from serving.advise.search import Watcher

    class Shown(Watcher):
        def started(self, trials: int, seconds: float) -> None:
            note(f"At most {plural(trials, 'candidate')}, about {plural(max(1, round(seconds / 60)), 'minute')}.")

        def tried(self, trial: Trial) -> None:
            if trial.problem or not trial.loaded:
                note(f"      {trial.candidate}: {trial.problem}")
                return
            figures = trial.loaded.figures
            rate = f"{figures.per_second:9.1f} requests/s  p99 {figures.p99_ms:8.2f} ms"
            note(f"{trial.gain:5.2f}  {rate}  alone {trial.speedup:5.2f}  {trial.candidate}")

    return Shown()


def _show(advice: Advice, found: FoundForms, options: AdviseOptions) -> None:
    from serving.advise.files import machine_notes, verdict, write_advice

    written = write_advice(advice, options.folder)
    changed = _update(options.spec, advice)
    if options.plot:
        from serving.bench.plot import draw_choices

        draw_choices(_choices(advice), f"{advice.mix.model}, {advice.mix}", options.plot)
        note(f"Wrote the plot to {options.plot}.")
    if options.as_json:
        machine = machine_notes()
        files = [str(path) for path in (*written, *changed)]
        print_json({**advice.to_json(), "absent": list(found.absent), "machine": machine, "written": files})
        return
    _print(advice)
    for sentence in (*(f"Not measured: {each}" for each in found.absent), *machine_notes(), verdict(advice)):
        say(sentence)
    for path in (*written, *changed):
        say(f"Wrote {path}")
    if not written:
        say("Nothing was written.")
    if options.spec and not changed:
        say(f"{options.spec} is unchanged{': it has this setting already' if advice.best else ''}.")
    _show_next(advice, options, changed)


def _show_next(advice: Advice, options: AdviseOptions, changed: Sequence[Path]) -> None:
    if not (options.spec and advice.best):
        return
    from bundler.operations.advise import contradictions

    for sentence in contradictions(options.spec, advice.best, advice.mix.model):
        note(sentence)
    if advice.best.form.mixed_precision and changed:  # generated starts have the flag once a build has measured it
        say_next(("tfbundle", "build", *changed, "-o", advice.best.form.source))
    elif changed:
        say_next(("tfbundle", "render", advice.best.form.source, "--spec", *changed))


def _update(spec: Path | None, advice: Advice) -> list[Path]:
    """Write the best candidate into a bundle.yaml, and return the file if it changed."""
    from bundler.operations.advise import update_spec

    return [spec] if spec and advice.best and update_spec(spec, advice.best) else []


def _print(advice: Advice) -> None:
    clients = plural(max(trial.loaded.figures.concurrency for trial in advice.trials if trial.loaded), "client")
    say(f"{advice.mix.model}, {advice.mix}, {clients}", style="bold")
    say(f"speed, gain: multiples of {advice.reference.candidate}; * on the Pareto front of speed, gain and size")
    columns = ("", "form and settings", "1 client p50 ms", "p99 ms", "speed", "requests/s", "p99 ms", "gain", "size", "accuracy")
    front = {id(trial) for trial in advice.front}
    table(columns, [_row(trial, advice, is_front=id(trial) in front) for trial in advice.trials])
    for trial in advice.trials:
        if trial.problem:
            say(f"Failed: {trial.candidate}: {trial.problem}")


def _row(trial: Trial, advice: Advice, *, is_front: bool) -> tuple[str, ...]:
    form = trial.candidate.form
    known = advice.accuracy.get(form)
    accuracy = str(known) if known and not (trial.problem and not trial.loaded) else ""
    if trial.problem or not trial.loaded or not trial.lone:
        return ("failed", str(trial.candidate), *[""] * 6, size(form.size_bytes), accuracy)
    alone, loaded = trial.lone.figures, trial.loaded.figures
    lone = (f"{alone.p50_ms:.2f}", f"{alone.p99_ms:.2f}", f"{trial.speedup:.2f}")
    many = (f"{loaded.per_second:.1f}", f"{loaded.p99_ms:.2f}", f"{trial.gain:.2f}")
    return ("*" if is_front else "", str(trial.candidate), *lone, *many, size(form.size_bytes), accuracy)


def _choices(advice: Advice) -> list[Choice]:
    """Return the points of the plot: the reference's figures times what each candidate reached while it took turns with it."""
    from serving.bench.plot import Choice

    front = {id(trial) for trial in advice.front}
    sound = [trial for trial in advice.trials if not trial.problem]
    return [
        Choice(
            str(trial.candidate.form),
            str(trial.candidate.setting) if id(trial) in front else "",
            per_second=trial.gain * advice.per_second,
            ms=advice.alone_ms / trial.speedup,
            is_front=not any(other.gain > trial.gain and other.speedup > trial.speedup for other in sound),
        )
        for trial in sound
    ]
