"""The report's section on the forms of the SavedModel in lower precision."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.bundle.schema import PrecisionRecord
from bundler.render.texts import milliseconds_text, size_text
from serving.cpu import GAINING, WITHOUT
from serving.texts import plural

NONE = "–"


@dataclass(frozen=True)
class PrecisionView:
    """The forms in lower precision that were measured.

    Attributes:
        rows: Rows of (form, verdict, metric, SQNR of the worst output, latency, latency in float32, share of its time).
        notes: Sentences about sizes, rejected forms and CPUs.
    """

    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def precision_view(saved_model: PrecisionRecord | None, flag: PrecisionRecord | None) -> PrecisionView | None:
    """Return the view of the forms, or None if none was requested.

    Args:
        saved_model: The SavedModel in bfloat16.
        flag: The SavedModel with the server's flag --mixed_precision=bfloat16.
    """
    named = {"SavedModel in bfloat16": saved_model, "--mixed_precision=bfloat16": flag}
    forms = {name: record for name, record in named.items() if record is not None}
    if not forms:
        return None
    notes = [f"{name}: {record.reason.partition(chr(10))[0]}" for name, record in forms.items() if not record.passed]
    sizes = saved_model.size_bytes if saved_model is not None else {}
    if {"float32", "bfloat16"} <= sizes.keys():
        notes.append(f"Size: {size_text(sizes['bfloat16'])}, in float32 {size_text(sizes['float32'])}.")
    instructions = next(iter(forms.values())).instructions
    measured = f"a CPU with {' and '.join(instructions)}" if instructions else "a CPU without instructions for bfloat16"
    notes.append(f"Latency was measured on {measured}. CPUs that gain have {GAINING}; {WITHOUT}.")
    return PrecisionView(tuple(row for name, record in forms.items() for row in _rows(name, record)), tuple(notes))


def _rows(name: str, record: PrecisionRecord) -> list[tuple[str, ...]]:
    ratios = [a.sqnr_db for a in record.accuracy.outputs.values() if a.sqnr_db is not None] if record.accuracy else []
    verdict = "served" if record.passed else "below its gate" if record.below_gate else "not served"
    common = (
        verdict,
        f"{record.evaluation.value:.4g}" if record.evaluation else NONE,
        f"{min(ratios):.1f} dB" if ratios else NONE,
    )
    lower, base = (record.latency_ms.get(dtype, {}) for dtype in ("bfloat16", "float32"))
    batches = sorted(lower.keys() & base.keys(), key=int)
    if not batches:
        return [(name, *common, NONE, NONE, NONE)]
    return [
        (
            f"{name}, {plural(int(batch), 'row')}",
            *common,
            milliseconds_text(lower[batch]),
            milliseconds_text(base[batch]),
            f"{lower[batch] / base[batch]:.2f}" if base[batch] else NONE,
        )
        for batch in batches
    ]
