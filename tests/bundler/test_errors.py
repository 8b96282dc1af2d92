"""Errors of the build side; tests/serving/test_errors.py has what both packages share."""

from __future__ import annotations

import pytest

from bundler.errors import MissingExtraError, VariantsError


def test_a_missing_package_names_the_extra_or_the_command() -> None:
    error = MissingExtraError("timm", "timm", purpose="A timm: source")
    assert str(error) == (
        "A timm: source needs the package 'timm', which is not installed.\n  to do: pip install 'tfbundle[timm]'"
    )
    assert MissingExtraError("x", "x", purpose="It", command="pip install x==1").fix == "pip install x==1"


@pytest.mark.parametrize(("below_gate", "code"), [(True, 3), (False, 1)])
def test_missing_variants_exit_with_3_only_below_a_gate(below_gate: bool, code: int) -> None:
    assert VariantsError("int8 is missing.", below_gate=below_gate).exit_code == code
