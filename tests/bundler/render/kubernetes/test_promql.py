"""Queries: names in regular expressions, and selectors that PromQL reads as they were meant."""

from __future__ import annotations

import re

import pytest

from bundler.render.kubernetes import promql


def test_names_are_matched_exactly() -> None:
    pattern = promql.names_regex(["a.b", "c-d"])
    assert pattern == r"a\.b|c-d"
    assert [bool(re.fullmatch(pattern, name)) for name in ("a.b", "c-d", "axb", "a.bc")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("value", "matcher"),
    [("OK", 'status="OK"'), ("!=OK", 'status!="OK"'), ("=~A|B", 'status=~"A|B"'), (r"=~a\.b", r'status=~"a\\.b"')],
)
def test_operator_of_a_matcher_is_that_of_its_value(value: str, matcher: str) -> None:
    assert promql.series("m", status=value) == f"m{{{matcher}}}"


def test_folder_of_a_version_is_matched_wherever_the_models_are() -> None:
    pattern = promql.model_path("digits|minilm").removeprefix("=~")
    paths = ("/models/digits/1", "/mnt/models/minilm/20", "/models/other/1", "/models/digits/1/variables", "/models/mydigits/1")
    assert [bool(re.fullmatch(pattern, path)) for path in paths] == [True, True, False, False, False]


def test_quantiles_are_in_seconds_and_keep_the_bounds_of_buckets() -> None:
    query = promql.quantile(0.99, promql.series("m_bucket"), "5m", "model_name")
    assert query == "histogram_quantile(0.99, sum by (model_name, le) (rate(m_bucket{}[5m]))) / 1e6"
    assert "by (le)" in promql.queue_quantile(0.5, "5m", "digits")
