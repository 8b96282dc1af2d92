"""The public names of the package."""

from __future__ import annotations

import pytest

import serving


def test_the_package_exports_what_it_lists() -> None:
    assert sorted(serving.__all__) == serving.__all__
    for name in serving.__all__:
        assert getattr(serving, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = serving.Nope
