"""The report's section on the graph: operators of the SavedModel and the TFLite files, transposes, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bundler.bundle.schema import FastPathRecord, GraphRecord, VariantRecord
from bundler.render.report import charts
from bundler.render.report.charts import Chart
from bundler.render.texts import size_text

OPERATORS = 12
"""Number of operators that the chart names; the table lists all."""


@dataclass(frozen=True)
class GraphView:
    """The graph of one version.

    Attributes:
        facts: Label and figure.
        chart: The most frequent operators.
        rows: All operators as (operator, count).
        tflite_columns: Headings of the table of TFLite operators, with one column per file; empty without such files.
        tflite_rows: Rows of that table.
    """

    facts: tuple[tuple[str, str], ...]
    chart: Chart
    rows: tuple[tuple[str, str], ...]
    tflite_columns: tuple[str, ...]
    tflite_rows: tuple[tuple[str, ...], ...]


def graph_view(
    graph: GraphRecord, size_bytes: int, variants: Mapping[str, VariantRecord], fast_path: FastPathRecord | None
) -> GraphView:
    """Return the view of a version's graph.

    Args:
        graph: The SavedModel's graph.
        size_bytes: The size of the version's folder.
        variants: The TFLite variants in the order in which the page shows them.
        fast_path: The version's model.tflite, if it has one.
    """
    rows = sorted(graph.ops.items(), key=lambda item: (-item[1], item[0]))
    facts = (
        ("Operators", f"{_counted(graph.nodes, 'node')} of {_counted(len(graph.ops), 'type')}"),
        ("Transposes", str(graph.transposes)),
        ("Weights", size_text(graph.weight_bytes)),
        ("Version folder", size_text(size_bytes)),
    )
    counts = {name: variant.operators for name, variant in variants.items()}
    if fast_path:
        counts[fast_path.file.rpartition("/")[2]] = fast_path.operators
    names = sorted({name for operators in counts.values() for name in operators})
    return GraphView(
        facts,
        _chart(rows, graph),
        tuple((name, str(count)) for name, count in rows),
        ("Operator", *counts) if counts else (),
        tuple((name, *(str(operators.get(name, 0)) for operators in counts.values())) for name in names),
    )


def _chart(rows: list[tuple[str, int]], graph: GraphRecord) -> Chart:
    shown = [(name, float(count), str(count)) for name, count in rows[:OPERATORS]]
    rest = sum(count for _, count in rows[OPERATORS:])
    if rest:
        shown.append((f"{len(rows) - OPERATORS} other operators", float(rest), str(rest)))
    title = f"{_counted(graph.nodes, 'TensorFlow node')}, {_counted(graph.transposes, 'transpose')}"
    return charts.linear(title, shown)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
