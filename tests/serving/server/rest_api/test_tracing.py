"""The route of a REST request, which names its span."""

from __future__ import annotations

import pytest

from serving.server.rest_api.tracing import route


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models/digits:predict", "/v1/models/{model}:predict"),
        ("/v1/models/digits/versions/12:classify", "/v1/models/{model}/versions/{version}:classify"),
        ("/v1/models/digits/labels/stable:regress", "/v1/models/{model}/labels/{label}:regress"),
        ("/v1/models/digits", "/v1/models/{model}"),
        ("/v1/models/digits/metadata", "/v1/models/{model}/metadata"),
        ("/V1/models/digits/Versions/1:PREDICT", "/v1/models/{model}/versions/{version}:predict"),
        ("/v1/models/digits:explain", ""),
        ("/v1/other", ""),
        ("/v2/models/digits/infer", "/v2/models/{model}/infer"),
        ("/v2/models/digits/versions/3/infer", "/v2/models/{model}/versions/{version}/infer"),
        ("/v2/models/digits/versions/3", "/v2/models/{model}/versions/{version}"),
        ("/v2/health/live", ""),
    ],
)
def test_route_has_placeholders_for_names(path: str, expected: str) -> None:
    assert route(path) == expected
