"""Labels: their history, and their merge with the serving section of a new spec."""

from __future__ import annotations

from typing import Any

from bundler.bundle.labels import assignments, merge_serving, promoted_labels, set_label
from bundler.bundle.manifest import Manifest


def entry(kind: str, before: int | None, version: int | None, label: str = "stable") -> dict[str, Any]:
    return {"kind": kind, "model": "m", "label": label, "before": before, "version": version}


def test_a_rollback_removes_the_last_assignment() -> None:
    promotions = [entry("promote", None, 1), entry("promote", 1, 2), entry("promote", 5, 6, "canary")]
    assert assignments(promotions, "m", "stable") == [None, 1]
    promotions.append(entry("rollback", 2, 1))
    assert assignments(promotions, "m", "stable") == [None]


def test_a_label_counts_as_promoted_until_all_of_it_is_rolled_back() -> None:
    promotions = [entry("promote", None, 1)]
    assert promoted_labels(promotions) == {("m", "stable"): 1}
    promotions.append(entry("rollback", 1, None))
    assert promoted_labels(promotions) == {}


def serving(labels: dict[str, dict[str, int]], versions: dict[str, list[int]]) -> dict[str, Any]:
    return {"labels": labels, "versions": versions, "rest_port": 8501}


def test_a_promoted_label_wins_over_the_spec_with_a_notice() -> None:
    before = Manifest({"serving": serving({}, {})}, promotions=(entry("promote", None, 2),))
    new = serving({"m": {"stable": 1, "canary": 3}}, {"m": [1, 3]})
    merged, notices = merge_serving(before, new, {"labels", "versions"})
    assert merged == serving({"m": {"stable": 2, "canary": 3}}, {"m": [1, 2, 3]})
    assert notices == (
        "The label 'stable' of model 'm' stays at version 2, to which it was promoted, although bundle.yaml has version 1; "
        "only a promotion moves it.",
    )
    assert new["labels"]["m"]["stable"] == 1, "the spec is not changed"


def test_settings_that_the_spec_does_not_mention_stay() -> None:
    before = Manifest({"serving": serving({"m": {"canary": 1}}, {"m": [1]})})
    merged, notices = merge_serving(before, serving({}, {}), set())
    assert merged == serving({"m": {"canary": 1}}, {"m": [1]})
    assert notices == ()


def test_the_last_label_of_a_model_is_removed_with_its_entry() -> None:
    labels = {"m": {"stable": 1}}
    set_label(labels, {}, "m", "stable", None)
    assert labels == {}
