"""The report's section on the form that a build with `optimize` chose."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.bundle.schema import ChoiceRecord, ChoiceRowRecord
from bundler.render.texts import milliseconds_text, size_text
from serving.texts import plural

NONE = "–"


@dataclass(frozen=True)
class ChoiceView:
    """The forms that were measured.

    Attributes:
        summary: What was chosen, and by what.
        rows: Rows of (form, setting, latency of a lone client, requests/s, their 99th percentile, size, accuracy, Pareto front).
        notes: Why other forms took no part.
    """

    summary: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def choice_view(record: ChoiceRecord | None) -> ChoiceView | None:
    """Return the view of a choice, or None if the build had none to make."""
    if record is None:
        return None
    summary = f"Chosen by {record.goal}: {record.winner}."
    clients = next((row.clients for row in record.rows if row.clients), None)
    if clients:
        summary += f" Requests per second are those of {plural(clients, 'client')}, measured on the build machine."
    notes = [f"{form} took no part: {reason}" for form, reason in record.left_out.items()]
    if record.problem:
        notes.append(f"The forms could not be measured: {record.problem}")
    return ChoiceView(summary, tuple(map(_row, record.rows)), tuple(notes))


def _row(row: ChoiceRowRecord) -> tuple[str, ...]:
    accuracy = "" if row.accuracy.sqnr_db is None else f"{row.accuracy.sqnr_db:.0f} dB"
    if row.problem:
        return (row.form, row.setting, NONE, NONE, NONE, size_text(row.size_bytes), accuracy or NONE, f"failed: {row.problem}")
    return (
        row.form,
        row.setting,
        NONE if row.alone_ms is None else milliseconds_text(row.alone_ms),
        NONE if row.per_second is None else f"{row.per_second:.0f}",
        NONE if row.p99_ms is None else milliseconds_text(row.p99_ms),
        size_text(row.size_bytes),
        accuracy or NONE,
        "yes" if row.pareto else "",
    )
