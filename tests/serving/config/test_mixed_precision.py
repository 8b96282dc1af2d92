from __future__ import annotations

from typing import Any

import pytest

from serving.config.mixed_precision import mixed_precision, without_verdict

PASSED, FAILED = {"mixed_precision": {"passed": True}}, {"mixed_precision": {"passed": False}}


def manifest(setting: str | None, **models: dict[str, Any]) -> dict[str, Any]:
    versions = {name: {"versions": records} for name, records in models.items()}
    return {"spec": {"serving": {"mixed_precision": setting}}, "models": versions}


@pytest.mark.parametrize(
    ("records", "flag", "missing"),
    [
        ({"a": {"1": PASSED}}, "bfloat16", []),
        ({"a": {"9": FAILED, "10": PASSED}}, "bfloat16", []),
        ({"a": {"1": PASSED}, "b": {"1": FAILED}}, "", ["b"]),
        ({"a": {"1": PASSED}, "b": {"1": {}}}, "", ["b"]),
    ],
)
def test_the_flag_needs_a_verdict_on_the_latest_version_of_every_model(
    records: dict[str, Any], flag: str, missing: list[str]
) -> None:
    assert mixed_precision(manifest("bfloat16", **records)) == flag
    assert without_verdict(manifest("bfloat16", **records)) == missing


def test_the_flag_is_set_only_if_the_bundle_asks_for_it() -> None:
    assert mixed_precision(manifest(None, a={"1": PASSED})) == ""
    assert mixed_precision({}) == ""
