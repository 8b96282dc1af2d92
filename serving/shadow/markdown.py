"""The result of a comparison as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from serving.shadow.report import Bounds, ShadowReport, share_text
from serving.shadow.tally import OutputFigures
from serving.texts import markdown, markdown_code, plural


def write_markdown(report: ShadowReport, bounds: Bounds, file: Path) -> None:
    """Write the report into a file; folders are made.

    Args:
        report: the comparison.
        bounds: what was accepted.
        file: the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(to_markdown(report, bounds), "utf-8")


def to_markdown(report: ShadowReport, bounds: Bounds) -> str:
    """Return the report as Markdown. Names of models, tensors and files stand for themselves."""
    first, second = (_title(report, number) for number in (0, 1))
    parts = [
        f"# {markdown(report.model)}: {first} and {second}",
        _outcome(report, bounds),
        markdown(report.verdict()),
        _sides(report),
        *_outputs("Differences per output", report.outputs),
        *_noise(report),
        *_list("Failures", _failures(report)),
        *_worst(report),
        *_list("Notes", [markdown(sentence) for sentence in report.notes()]),
        _method(report),
    ]
    return "\n\n".join(parts) + "\n"


def _title(report: ShadowReport, number: int) -> str:
    name, version = report.names[number], f"version {report.versions[number]}"
    return version if name == version else f"{markdown_code(name)} ({version})"


def _outcome(report: ShadowReport, bounds: Bounds) -> str:
    if report.incomplete:
        return "**Not complete.** " + markdown(" ".join(report.incomplete))
    exceeded = report.exceeded(bounds)
    if exceeded:
        return "**Beyond the bounds.** " + markdown(" ".join(exceeded))
    return "**Within the bounds.**" if bounds != Bounds() else "No bounds were set."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], align: str = "---:") -> str:
    lines = [heads, ["---", *(align for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _sides(report: ShadowReport) -> str:
    rows = [
        [_title(report, number), str(side.answered), str(side.failed), *(_number(side.percentile_ms(p)) for p in (50, 99))]
        for number, side in enumerate(report.tally.sides)
    ]
    ratios = [_number(report.latency_ratio(percent)) for percent in (50, 99)]
    return _table(("", "answered", "failed", "p50 ms", "p99 ms"), [*rows, ["ratio", "", "", *ratios]])


def _outputs(heading: str, figures: Sequence[OutputFigures]) -> list[str]:
    heads = ("output", "requests", "differ", "max abs", "mean abs", "max rel", "same top class")
    rows = [
        [
            markdown_code(f"{each.signature}/{each.output}"),
            str(each.requests),
            str(each.differing),
            *(_number(value if each.elements else None) for value in (each.max_abs, each.mean_abs, each.max_rel)),
            "" if each.top_agreement is None else share_text(each.top_agreement),
        ]
        for each in figures
    ]
    problems = [
        f"{markdown_code(each.output)}, {plural(each.incomparable, 'request')}: {markdown(each.problem)}"
        for each in figures
        if each.problem
    ]
    return [f"## {heading}", _table(heads, rows), *_bullets(problems)] if rows else []


def _noise(report: ShadowReport) -> list[str]:
    if report.noise is None:
        return []
    asked = plural(report.tally.repeated, "request")
    return [
        *_outputs("Noise", list(report.tally.noise.values())),
        f"{_title(report, 0)} was asked {asked} twice, and its answers differ on {share_text(report.noise)} of them.",
    ]


def _failures(report: ShadowReport) -> list[str]:
    return [
        f"{_title(report, number)}, {side.failures[status]} times {markdown(status)}, e.g. {markdown(example)}"
        for number, side in enumerate(report.tally.sides)
        for status, example in side.examples.items()
    ]


def _worst(report: ShadowReport) -> list[str]:
    rows = [
        [markdown_code(each.where), markdown_code(each.signature), markdown(each.explanation), markdown("; ".join(each.inputs))]
        for each in report.tally.worst
    ]
    return ["## Worst requests", _table(("request", "signature", "difference", "inputs"), rows, "---")] if rows else []


def _method(report: ShadowReport) -> str:
    day = datetime.now(timezone.utc).date().isoformat()
    return (
        f"Compared on {day} with `tfbundle shadow` at {markdown_code(report.target)}: "
        f"{plural(report.tally.requests, 'request')} in {report.seconds:.1f} s, {report.concurrency} at once, each sent to both "
        f"versions in alternating order; relative tolerance {report.tally.tolerance:g}."
    )


def _list(heading: str, lines: Sequence[str]) -> list[str]:
    return [f"## {heading}", *_bullets(lines)] if lines else []


def _bullets(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _number(value: float | None) -> str:
    return "" if value is None or value == float("inf") else f"{value:.3g}"
