"""Names in a path that are not UTF-8: the real server quotes their bytes in its error."""

from __future__ import annotations

import pytest

from serving.protocol.status import StatusError
from serving.server.rest_api.raw_names import RawNames


@pytest.mark.parametrize(
    ("model", "version", "label", "error", "status_error"),
    [
        ("a%FF", None, None, "NOT_FOUND: Servable not found for request: Latest(a\udcff)",
         "NOT_FOUND: Could not find any versions of model a\udcff"),
        ("%FF", 3, None, "NOT_FOUND: Servable not found for request: Specific(\udcff, 3)",
         "NOT_FOUND: Could not find version 3 of model \udcff"),
        ("%ED%A0%80", None, "x", "INVALID_ARGUMENT: Unrecognized servable version label: x",
         "NOT_FOUND: Could not find any versions of model \udced\udca0\udc80"),
        ("a", None, "l%C3", "INVALID_ARGUMENT: Unrecognized servable version label: l\udcc3", None),
        ("a", None, "%C3%BC", None, None),
        ("%C3%BC", 1, None, None, None),
        (None, None, None, None, None),
    ],
)  # fmt: skip
def test_error_quotes_the_bytes(
    model: str | None, version: int | None, label: str | None, error: str | None, status_error: str | None
) -> None:
    names = RawNames.of(model, version, label)
    for status, wanted in ((False, error), (True, status_error)):
        if wanted is None:
            names.check(status=status)
        else:
            with pytest.raises(StatusError) as raised:
                names.check(status=status)
            assert str(raised.value) == wanted
