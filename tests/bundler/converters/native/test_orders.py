"""Storage orders."""

from __future__ import annotations

from bundler.converters.native.orders import canonical, channels_first_permutation, channels_last, identity

LAST = (0, 2, 3, 1)


def test_channels_last_orders() -> None:
    assert channels_last(4) == LAST
    assert channels_last(3) == (0, 2, 1)
    assert channels_first_permutation(4) == (0, 3, 1, 2)


def test_onnx_order_is_represented_by_none() -> None:
    assert canonical(identity(4)) is None
    assert canonical(None) is None
    assert canonical(LAST) == LAST
