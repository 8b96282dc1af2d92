from __future__ import annotations

import pytest

from serving.server.rest_api.targets import read_target


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/models/rows", "/v1/models/rows"),
        ("http://h/v1/models/rows", "/v1/models/rows"),
        ("http://u:p@[::1]:80/v1/x?y#z", "/v1/x?y#z"),
        ("//h:8501/v1/x", "/v1/x"),
        ("///v1/x", "/v1/x"),
        ("http://h", ""),
        ("//[v1.a]/x", "/x"),
        ("/v1/a?b?c#d?e", "/v1/a?b?c#d?e"),
        ("/v1/models/m:predict", "/v1/models/m:predict"),
        ("/v1/a#b#c", None),
        ("//[::g]/v1/x", None),
        ("//[]/v1/x", None),
        ("//[1.2]/v1/x", None),
        ("//a@b@c/v1/x", None),
        ("http://h:8x/v1/x", None),
        ("1h:/v1/x", None),
        (":", None),
        ("/v1/é", None),
    ],
)
def test_targets_are_parsed_as_by_libevent(target: str, path: str | None) -> None:
    found = read_target(target)
    assert (found and found.text) == path
