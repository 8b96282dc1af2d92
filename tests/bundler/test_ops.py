"""The public interface for authors of handlers."""

from __future__ import annotations

from bundler import ops


def test_the_public_interface_has_four_names() -> None:
    assert sorted(ops.__all__) == ["Context", "Layout", "Value", "op"]
    assert all(hasattr(ops, name) for name in ops.__all__)
