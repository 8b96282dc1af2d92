"""The files of `tfbundle bench --advise`: batching.config and server.flags, with the measured figures as comments."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path

from serving.advise.search import BETTER, Advice, Setting, Trial
from serving.bench.load import LoadFigures
from serving.cpu import bfloat16_note
from serving.server.config.options import cores
from serving.texts import plural, printable, shell_command

BATCHING_CONFIG = "batching.config"
SERVER_FLAGS = "server.flags"


def write_advice(advice: Advice, folder: Path) -> list[Path]:
    """Write the best setting, or nothing if no setting is better than a server without flags.

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
    comments = _comments(advice)
    batching = folder / BATCHING_CONFIG
    texts = {folder / SERVER_FLAGS: _flags_text(best, batching, comments)}
    if best.batching:
        texts[batching] = _commented(comments) + best.batching.to_text()
    else:
        batching.unlink(missing_ok=True)
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    return list(texts)


def verdict(advice: Advice) -> str:
    """Return the result as one sentence."""
    loaded, alone = advice.confirmed
    clients = plural(loaded.figures.concurrency, "client")
    if advice.best is None:
        return (
            f"No setting serves {clients} better than a server without flags: the best of {len(advice.trials)} "
            f"({loaded.setting}) reached {loaded.gain:.2f} times its requests/s when measured again, "
            f"and at least {BETTER} times is required."
        )
    return (
        f"{loaded.setting}: {loaded.gain:.2f} times the requests/s of a server without flags with {clients} "
        f"(p99 {loaded.figures.p99_ms:.1f} ms, without flags {loaded.baseline.p99_ms:.1f} ms); a single client waits "
        f"{alone.figures.p50_ms:.2f} ms, without flags {alone.baseline.p50_ms:.2f} ms."
    )


def _flags_text(best: Setting, batching: Path, comments: list[str]) -> str:
    serve = f"tfbundle serve BUNDLE $(grep -v '^#' {shell_command(batching.parent / SERVER_FLAGS)})"
    usage = f"Use: {serve}; tensorflow_model_server takes the same flags."
    flags = best.flags(str(batching))
    return _commented([*comments, usage]) + "\n".join(flags) + "\n"


def _commented(lines: list[str]) -> str:
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)


def _comments(advice: Advice) -> list[str]:
    loaded, alone = advice.confirmed
    request = advice.request
    day = datetime.now(timezone.utc).date().isoformat()
    return [
        f"Measured by `tfbundle bench --advise` on {day}, {_processor()}, {cores()} cores (load before: {advice.load:.1f}),",
        "with the embedded server. A machine that is busy with other work favours a server with many threads.",
        bfloat16_note(),
        f"{request.model} {request.signature}, {plural(request.rows, 'row')} per request.",
        "",
        *_figure_lines(loaded, alone),
        "",
        "Tried, as a multiple of the requests/s without flags:",
        *[f"  {trial.gain:5.2f}  {trial.setting}" for trial in advice.trials],
        *_length_notes(advice),
        *_bundle_yaml(loaded.setting),
        "",
    ]


def _figure_lines(loaded: Trial, alone: Trial) -> list[str]:
    lines = ["clients  flags     requests/s    p50 ms    p99 ms"]
    for trial in (loaded, alone):
        lines += [_figure_line("without", trial.baseline), _figure_line("these", trial.figures)]
    return lines


def _figure_line(flags: str, figures: LoadFigures) -> str:
    return f"{figures.concurrency:7d}  {flags:8s}{figures.per_second:12.1f}{figures.p50_ms:10.2f}{figures.p99_ms:10.2f}"


def _length_notes(advice: Advice) -> list[str]:
    """Return a warning for inputs of variable length: a batch is one array, which requests of other lengths cannot share."""
    names = [name for name, array in advice.request.inputs.items() if array.ndim > 1]
    if advice.confirmed[0].setting.batching is None or not names:
        return []
    return [
        "",
        f"All requests had the same size. If the dims of {', '.join(sorted(names))} differ after the first,",
        "the requests of a batch fail (FAILED_PRECONDITION). pad_variable_length_inputs pads each input with its own first",
        "value, masks too: let the clients pad to a few lengths instead.",
    ]


def serving_section(setting: Setting) -> dict[str, bool | int | dict[str, int]]:
    """Return a setting as keys of the section `serving` in bundle.yaml."""
    section: dict[str, bool | int | dict[str, int]] = {}
    if setting.batching:
        numbers = {
            "max_batch_size": setting.batching.max_batch_size,
            "batch_timeout_micros": setting.batching.batch_timeout_micros,
            "max_enqueued_batches": setting.batching.max_enqueued_batches,
            "num_batch_threads": setting.batching.num_batch_threads,
        }
        section = {"batching": True, **{name: number for name, number in numbers.items() if number is not None}}
    return {**section, "flags": setting.thread_flags} if setting.thread_flags else section


def _bundle_yaml(best: Setting) -> list[str]:
    lines = ["", "The same settings in bundle.yaml, for generated deployments (--update-spec writes them there):", "  serving:"]
    for name, value in serving_section(best).items():
        if isinstance(value, dict):
            lines += [f"    {name}:", *(f"      {flag}: {number}" for flag, number in value.items())]
        else:
            lines.append(f"    {name}: {str(value).lower()}")
    return lines


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
