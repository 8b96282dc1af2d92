"""Public names that are imported on first use."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from serving.lazy import lazy_attributes


def test_a_name_is_imported_on_first_use_and_then_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("parcel"), ModuleType("parcel.inner")
    package.__path__ = []
    module.Thing = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parcel", package)
    monkeypatch.setitem(sys.modules, "parcel.inner", module)
    load = lazy_attributes("parcel", {"Thing": "inner"})
    assert "Thing" not in vars(package)
    assert load("Thing") is module.Thing
    assert package.Thing is module.Thing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'parcel' has no attribute 'Other'"):
        lazy_attributes("parcel", {"Thing": "inner"})("Other")
