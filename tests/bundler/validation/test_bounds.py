"""The bounds that a new version has to keep, and what is said about one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundler.bundle.schema import AgainstRecord
from bundler.spec.against_spec import AgainstSpec
from bundler.validation.bounds import Compared, Figures, comparison_error

EQUAL = Compared(
    3, "stable", Figures(1e6, 1e6), golden={"y": 0.95}, golden_rows=20, latency_ms=Figures(2.0, 2.0)
)
MEASURED = replace(EQUAL, function="m.py:f", metric=Figures(0.9, 0.9), labelled={"y": 0.97}, labelled_rows=100)


@pytest.mark.parametrize(
    ("change", "bounds", "complaint"),
    [
        ({"golden": {"y": 0.85}}, {}, "y: golden rows answered alike (20 rows): 0.85, but the bound is at least 0.9"),
        ({"golden": {"y": 0.85}}, {"min_agreement": 0.8}, ""),
        ({"latency_ms": Figures(2.0, 2.6)}, {}, "latency: 2.6 ms (2 ms before), but the bound is at most 1.25 of it"),
        ({"latency_ms": Figures(2.0, 2.6)}, {"max_latency_ratio": None}, ""),
        ({"size_bytes": Figures(1e6, 1.6e6)}, {}, "size: 1.6 MB (1 MB before), but the bound is at most 1.5 of it"),
        ({"size_bytes": Figures(0, 1)}, {}, "size: 1e-06 MB (0 MB before)"),
        ({"failure": "serving_default: too long"}, {}, "it cannot answer a golden call that version 3 (stable) answers: serv"),
        ({"problems": ("the signature 'embed' is gone",)}, {}, "clients of version 3 (stable) would fail: the signature 'embed'"),
    ],
)
def test_each_bound_is_kept_or_named(change: dict[str, object], bounds: dict[str, object], complaint: str) -> None:
    compared = replace(EQUAL, **change)  # type: ignore[arg-type]
    text = "; ".join(compared.complaints(AgainstSpec.model_validate(bounds)))
    assert text.startswith(complaint) if complaint else not text


@pytest.mark.parametrize(
    ("change", "bounds", "complaint"),
    [
        ({"golden": {"y": 0.2}}, {}, ""),
        ({"labelled": {"y": 0.2}}, {}, ""),
        ({"labelled": {"y": 0.2}}, {"min_agreement": 0.9}, "y: labelled rows answered alike (100 rows): 0.2, but"),
        ({"golden": {"y": 0.2}}, {"min_agreement": 0.9}, ""),
        ({"metric": Figures(0.9, 0.89)}, {}, "metric m.py:f: 0.89 (0.9 before), but the bound is at least 0.9"),
        ({"metric": Figures(0.9, 0.89)}, {"max_metric_drop": 0.02}, ""),
    ],
)
def test_labelled_data_judge_in_place_of_golden_data(
    change: dict[str, object], bounds: dict[str, object], complaint: str
) -> None:
    compared = replace(MEASURED, **change)  # type: ignore[arg-type]
    text = "; ".join(compared.complaints(AgainstSpec.model_validate(bounds)))
    assert text.startswith(complaint) if complaint else not text


def test_the_error_names_every_model_that_is_worse_and_carries_all_records() -> None:
    bounds = AgainstSpec()
    worse = replace(EQUAL, golden={"y": 0.1})
    error = comparison_error({"a": (EQUAL, bounds), "b": (worse, bounds), "c": (worse, bounds)})
    assert error is not None and error.exit_code == 3
    assert "'a'" not in error.what and "'b'" in error.what and "'c'" in error.what
    assert error.fix and error.fix.endswith("so that a metric on labelled data (tflite.evaluate) judges better")
    assert {name: record["passed"] for name, record in error.records.items()} == {"a": True, "b": False, "c": False}
    assert comparison_error({"a": (EQUAL, bounds)}) is None


def test_the_record_has_the_form_of_the_schema() -> None:
    record = AgainstRecord.model_validate_json(_json(MEASURED.to_json(AgainstSpec(min_agreement=0.5))))
    assert record.passed and record.version == 3 and record.metric is not None and record.metric.after == 0.9
    assert record.agreement["labelled"].bound == 0.5 and record.agreement["golden"].bound is None
    assert next(line.name for line in record.lines) == "metric m.py:f"


def _json(data: object) -> str:
    import json

    return json.dumps(data)
