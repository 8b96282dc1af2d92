"""What the SavedModel and the TFLite files compute with: operators, how often data are moved, weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bundler.render.report import charts
from bundler.render.report.charts import Chart
from bundler.render.report.schema import FastPathRecord, Graph, VariantRecord
from bundler.render.texts import size_text

OPERATORS = 12
"""Operators drawn by name; the table has all."""


@dataclass(frozen=True)
class GraphView:
    """Facts as (what, figure); the commonest operators drawn, and all of them as (operator, count).

    Attributes:
        tflite_columns, tflite_rows: operators of the TFLite files, a column a file; empty without such files.
    """

    facts: tuple[tuple[str, str], ...]
    chart: Chart
    rows: tuple[tuple[str, str], ...]
    tflite_columns: tuple[str, ...]
    tflite_rows: tuple[tuple[str, ...], ...]


def graph_view(
    graph: Graph, size_bytes: int, variants: Mapping[str, VariantRecord], fast_path: FastPathRecord | None
) -> GraphView:
    """The page's part on the graph.

    Args:
        size_bytes: of the version's folder.
        variants: in the order of the page.
    """
    rows = sorted(graph.ops.items(), key=lambda item: (-item[1], item[0]))
    facts = (
        ("Operators", f"{graph.nodes:,} of {len(graph.ops)} kinds"),
        ("Moves of axes", f"{graph.transposes} (Transpose)"),
        ("Weights", size_text(graph.weight_bytes)),
        ("Folder of the version", size_text(size_bytes)),
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


def _chart(rows: list[tuple[str, int]], graph: Graph) -> Chart:
    shown = [(name, float(count), str(count)) for name, count in rows[:OPERATORS]]
    rest = sum(count for _, count in rows[OPERATORS:])
    if rest:
        shown.append((f"{len(rows) - OPERATORS} other operators", float(rest), str(rest)))
    noun = "transpose" if graph.transposes == 1 else "transposes"
    return charts.linear(f"{graph.nodes} TensorFlow nodes, {graph.transposes} {noun}", shown)
