"""Errors of the limits."""

from __future__ import annotations

import numpy as np
import pytest

from serving.protocol.status import StatusError
from serving.server.config.options import ServerOptions
from serving.server.rest_api.errors import TooLargeError, check_sizes, shortened


def test_too_large_is_413() -> None:
    assert TooLargeError("x").http_status == 413


def test_long_text_is_cut_off() -> None:
    assert shortened("x" * 4096) == "x" * 4096
    assert shortened("x" * 4097) == "x" * 4096 + "…"


def test_sizes_within_the_limits_pass() -> None:
    check_sizes({"x": np.zeros(10, np.int8)}, ServerOptions(max_tensor_elements=10, max_decoded_bytes=10))


def test_too_many_elements_are_refused() -> None:
    with pytest.raises(StatusError, match="Tensor x has 10 elements; --max_tensor_elements allows 9"):
        check_sizes({"x": np.zeros(10, np.int8)}, ServerOptions(max_tensor_elements=9))


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(TooLargeError, match="80 bytes; --max_decoded_bytes allows 79"):
        check_sizes({"x": np.zeros(10)}, ServerOptions(max_decoded_bytes=79))
