"""The report's section on the graph."""

from __future__ import annotations

from bundler.bundle.schema import FastPathRecord, GraphRecord, read_manifest
from bundler.render.report.graph import OPERATORS, graph_view
from tests.bundler.render.report.pages import make_manifest


def test_the_chart_names_the_most_frequent_operators_and_the_table_lists_all() -> None:
    graph = GraphRecord(ops={f"Op{i:02}": 20 - i for i in range(OPERATORS + 3)}, transposes=2, weight_bytes=2048, nodes=195)
    view = graph_view(graph, 4096, {}, None)
    assert [bar.label for bar in view.chart.bars] == [*(f"Op{i:02}" for i in range(OPERATORS)), "3 other operators"]
    assert view.rows[0] == ("Op00", "20") and len(view.rows) == OPERATORS + 3
    assert view.facts == (
        ("Operators", "195 nodes of 15 types"), ("Transposes", "2"), ("Weights", "2 KiB"), ("Version folder", "4 KiB"),
    )  # fmt: skip
    assert (view.tflite_columns, view.tflite_rows) == ((), ())


def test_each_tflite_file_has_a_column_of_operators() -> None:
    record = read_manifest(make_manifest()).models["digits"].versions[3]
    fast_path = FastPathRecord(file="model.tflite", size_bytes=1, latency_ms={}, operators={"PAD": 4})
    view = graph_view(record.graph, 1, {"int8": record.tflite["int8"]}, fast_path)
    assert view.tflite_columns == ("Operator", "int8", "model.tflite")
    assert view.tflite_rows == (("CONV_2D", "3", "0"), ("FULLY_CONNECTED", "1", "0"), ("PAD", "0", "4"))
