"""The report's section that compares a version with the one in service."""

from __future__ import annotations

import json

from bundler.bundle.schema import AgainstRecord
from bundler.render.report.against import against_view
from bundler.spec.against_spec import AgainstSpec
from bundler.validation.bounds import Compared, Figures

COMPARED = Compared(
    1, "stable", Figures(2048, 4096), golden={"y": 0.5}, golden_rows=20, labelled={"y": 0.75}, labelled_rows=4,
    function="m.py:f", metric=Figures(0.9, 0.8), latency_ms=Figures(2.0, 1.0),
)  # fmt: skip


def test_both_versions_are_side_by_side() -> None:
    record = COMPARED.to_json(AgainstSpec(min_agreement=0.7))
    view = against_view(AgainstRecord.model_validate_json(json.dumps(record)), 2)
    assert view is not None and not view.passed
    assert view.title == "version 1 (stable)"
    assert view.columns == ("Figure", "version 1 (stable)", "version 2", "Bound", "Verdict")
    metric, latency, size, *shares = view.charts
    assert [(bar.label, bar.text) for bar in metric.bars] == [("version 1 (stable)", "0.9000"), ("version 2", "0.8000")]
    assert [bar.share for bar in latency.bars] == [1.0, 0.5] and [bar.text for bar in size.bars] == ["2 KiB", "4 KiB"]
    titles = {chart.title: (chart.bars[0].text, chart.bars[0].kind, chart.mark) for chart in shares}
    assert titles == {
        "Share of 4 labelled rows that both versions answer alike": ("75.0%", "good", 0.7),
        "Share of 20 golden rows that both versions answer alike": ("50.0%", "plain", None),
    }
    assert view.rows[0] == ("metric m.py:f", "0.9", "0.8", "at least 0.9", "broken")
    assert view.complaints[0].startswith("metric m.py:f: 0.8 (0.9 before)")
    assert against_view(None, 2) is None
