"""The files of `tfbundle bench --advise`: batching.config and server.flags, with the measured figures as comments."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from serving.advise.forms import Candidate
from serving.advise.trials import BETTER, Advice, Comparison
from serving.bench.load import LoadFigures
from serving.cpu import native_precisions, processor
from serving.server.config.options import cores
from serving.texts import plural, printable, shell_command

BATCHING_CONFIG = "batching.config"
SERVER_FLAGS = "server.flags"

Section = dict[str, bool | int | str | dict[str, int]]

_OTHER_CPUS = "Another CPU may be faster in another form: measure on the machines that serve."


def write_advice(advice: Advice, folder: Path) -> list[Path]:
    """Write the best candidate, or nothing if none is better than the reference.

    Args:
        advice: the result of the search.
        folder: where to write the files.

    Returns:
        The written files: server.flags, and batching.config if the best setting uses batching.
    """
    best = advice.best
    if best is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    comments = _comments(advice, best)
    batching = folder / BATCHING_CONFIG
    texts = {folder / SERVER_FLAGS: _flags_text(best, batching, comments)}
    if best.setting.batching:
        texts[batching] = _commented(comments) + best.setting.batching.to_text()
    else:
        batching.unlink(missing_ok=True)
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    return list(texts)


def verdict(advice: Advice) -> str:
    """Return the result as one or two sentences."""
    confirmed, reference = advice.confirmed, advice.reference.candidate.form
    if confirmed.problem or not confirmed.loaded or not confirmed.lone:
        return f"{confirmed.candidate} failed when it was measured again: {confirmed.problem}."
    loaded, alone = confirmed.loaded, confirmed.lone
    clients = plural(loaded.figures.concurrency, "client")
    if advice.best is None:
        aim = {"throughput": "requests/s", "latency": "speed for a lone client", "size": "requests/s"}[advice.goal]
        reached = alone.speedup if advice.goal == "latency" else loaded.gain
        return (
            f"Nothing serves {clients} better than {reference} without flags: the best of {len(advice.trials)} "
            f"({confirmed.candidate}) reached {reached:.2f} times its {aim} when measured again, "
            f"and at least {BETTER} times is required."
        )
    return (
        f"{advice.best}: {loaded.gain:.2f} times the requests/s of {reference} without flags with {clients} "
        f"(p99 {loaded.figures.p99_ms:.1f} ms, without flags {loaded.baseline.p99_ms:.1f} ms); a single client waits "
        f"{alone.figures.p50_ms:.2f} ms, without flags {alone.baseline.p50_ms:.2f} ms."
    )


def machine_notes() -> list[str]:
    """Return what this CPU computes fast, and that another one may differ."""
    return [native_precisions(), _OTHER_CPUS]


def _flags_text(best: Candidate, batching: Path, comments: list[str]) -> str:
    serve = f"tfbundle serve {shell_command(best.form.source)} $(grep -v '^#' {shell_command(batching.parent / SERVER_FLAGS)})"
    usage = f"Use: {serve}; tensorflow_model_server takes the same flags."
    return _commented([*comments, usage]) + "\n".join(best.flags(str(batching))) + "\n"


def _commented(lines: list[str]) -> str:
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)


def _comments(advice: Advice, best: Candidate) -> list[str]:
    day = datetime.now(timezone.utc).date().isoformat()
    return [
        f"Measured by `tfbundle bench --advise` on {day}, {processor()}, {cores()} cores (load before: {advice.load:.1f}),",
        "with the embedded server. A machine that is busy with other work favours a server with many threads.",
        *machine_notes(),
        f"{advice.mix.model} {advice.mix}.",
        f"Chosen by {advice.goal}: {best}",
        "",
        *_figure_lines(advice),
        "",
        f"Tried, as multiples of {advice.reference.candidate.form} without flags (* on the Pareto front):",
        " requests/s  speed for a lone client",
        *_tried(advice),
        *_length_notes(advice, best),
        *_bundle_yaml(best),
        "",
    ]


def _tried(advice: Advice) -> list[str]:
    front = {id(trial) for trial in advice.front}
    lines = []
    for trial in advice.trials:
        if trial.problem:
            lines.append(f"      failed  {trial.candidate}: {trial.problem}")
        else:
            mark = "*" if id(trial) in front else " "
            lines.append(f"{mark}{trial.gain:6.2f}{trial.speedup:6.2f}  {trial.candidate}")
    return lines


def _figure_lines(advice: Advice) -> list[str]:
    lines = ["clients  flags     requests/s    p50 ms    p99 ms"]
    known: list[Comparison] = []
    for comparison in (advice.confirmed.loaded, advice.confirmed.lone):
        if comparison and comparison not in known:
            known.append(comparison)
            lines += [_figure_line("without", comparison.baseline), _figure_line("these", comparison.figures)]
    return lines


def _figure_line(flags: str, figures: LoadFigures) -> str:
    return f"{figures.concurrency:7d}  {flags:8s}{figures.per_second:12.1f}{figures.p50_ms:10.2f}{figures.p99_ms:10.2f}"


def _length_notes(advice: Advice, best: Candidate) -> list[str]:
    """Return a warning for inputs of variable length: a batch is one array, which requests of other lengths cannot share."""
    names = sorted({name for request in advice.mix.requests for name, array in request.inputs.items() if array.ndim > 1})
    if best.setting.batching is None or advice.mix.varying or not names:
        return []
    return [
        "",
        f"All requests had the same size. If the dims of {', '.join(names)} differ after the first,",
        "the requests of a batch fail (FAILED_PRECONDITION). pad_variable_length_inputs pads each input with its own first",
        "value, masks too: let the clients pad to a few lengths instead. --replay FILE measures requests of your own lengths.",
    ]


def serving_section(candidate: Candidate) -> Section:
    """Return a candidate as keys of the section `serving` in bundle.yaml."""
    form, setting = candidate.form, candidate.setting
    section: Section = {}
    if form.is_tflite:
        section["fast_path"] = form.fast_path
    if form.mixed_precision:
        section["mixed_precision"] = "bfloat16"
    if not form.is_tflite:
        # Generated starts have one thread per request, unless the clients are few.
        section["clients"] = "many" if setting.intra == 1 else "few"
    if setting.batching:
        section["batching"] = True
        names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        numbers = {name: getattr(setting.batching, name) for name in names}
        section |= {name: number for name, number in numbers.items() if number is not None}
        if setting.batching.pad_variable_length_inputs:
            section["pad_variable_length_inputs"] = True
    return {**section, "flags": setting.thread_flags} if setting.thread_flags else section


def _bundle_yaml(best: Candidate) -> list[str]:
    lines = ["", "The same in bundle.yaml, for generated deployments (--update-spec writes it there):", "  serving:"]
    for name, value in serving_section(best).items():
        if isinstance(value, dict):
            lines += [f"    {name}:", *(f"      {flag}: {number}" for flag, number in value.items())]
        else:
            lines.append(f"    {name}: {str(value).lower() if isinstance(value, bool) else value}")
    return lines
