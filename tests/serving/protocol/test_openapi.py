"""OpenAPI documents hold for what TensorFlow Serving really answered: recorded requests and replies fit their schemas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from serving.protocol.messages import message
from serving.protocol.openapi.document import ServedModel, document
from serving.protocol.openapi.schemas import CLASSIFY, Interface, Tensor, interface_of, obstacle
from tests.serving.protocol.openapi_documents import check_document, problems
from tests.serving.server.recordings import MODELS, ROWS


@cache
def recorded_document() -> dict[str, Any]:
    models = []
    for folder in sorted(path for path in MODELS.iterdir() if path.name != "broken"):
        versions = {}
        for version in sorted(path for path in folder.iterdir() if path.is_dir()):
            saved = message("tensorflow.SavedModel").FromString((version / "saved_model.pb").read_bytes())
            defined = saved.meta_graphs[0].signature_def
            names = [name for name in sorted(defined) if defined[name].method_name]
            versions[int(version.name)] = {name: interface_of(defined[name]) for name in names}
        models.append(ServedModel(folder.name, versions))
    return document("recorded", "1", models)


@pytest.mark.slow
def test_large_document_follows_the_specification() -> None:
    check_document(recorded_document())


def recorded(statuses: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return the recorded calls of the document's paths, with bodies that are JSON."""
    paths = recorded_document()["paths"]
    return [
        row
        for row in ROWS
        if row["kind"] == "rest" and row.get("http_status") in statuses and row["method"].lower() in paths.get(row["path"], {})
    ]


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


SHAPE = "the server does not compare shapes with the signature's, and this graph takes others"
WRAPPED = "the server wraps integers of 8 and 16 bits that are too large"
METHOD = "the server classifies with any signature that has the right outputs"
OTHERWISE = {
    **dict.fromkeys(("rank_high", "dim_wrong", "empty_inner", "empty_inner2", "scalar_in_row", "scalar_in_row2"), SHAPE),
    **dict.fromkeys(("str_nested", "str_scalar_row", "types_str_list_row", "types_str_list_col"), SHAPE),
    **dict.fromkeys((f"types_{what}" for what in ("i8_over_row", "i8_over_col", "i8_under_row", "i8_under_col")), WRAPPED),
    **dict.fromkeys((f"types_{what}" for what in ("u8_over_row", "u8_over_col", "u8_neg_row", "u8_neg_col")), WRAPPED),
    **dict.fromkeys(("types_i16_over_row", "types_i16_over_col"), WRAPPED),
    **dict.fromkeys(("cls_predict_shaped", "reg_odd_method", "reg_nomethod"), METHOD),
}
"""Recorded call that the server answers although its request does not fit the schema -> why. The schema is the signature's."""


def test_what_the_server_answered_fits() -> None:
    answered: Counter[str] = Counter()
    for row in recorded((200,)):
        path, method, answer = row["path"], row["method"].lower(), parsed(row.get("response_body", ""))
        request = parsed(row["request_body"]) if method == "post" else None
        if row["id"] in OTHERWISE:
            assert problems(recorded_document(), path, method, request), f"{row['id']} is not an exception"
            continue
        assert request is None or not problems(recorded_document(), path, method, request), (row["id"], row["request_body"])
        assert answer is None or not problems(recorded_document(), path, method, answer, status=200), (row["id"], answer)
        answered[method] += answer is not None
    assert answered["post"] > 100 and answered["get"] > 5, answered


def test_most_requests_that_the_server_refused_do_not_fit() -> None:
    """What the schema cannot tell is in the values: bad base64, an operator's own checks, a batch of unequal inputs."""
    fits = Counter(not problems(recorded_document(), row["path"], "post", request) for row, request in refused())
    assert fits[False] > 2 * fits[True] and fits[False] > 100, fits


def refused() -> Iterator[tuple[dict[str, Any], Any]]:
    for row in recorded((400,)):
        request = parsed(row.get("request_body", "")) if row["method"] == "POST" else None
        if request is not None:
            yield row, request


def test_errors_have_the_form_of_the_document() -> None:
    rows = [row for row in recorded((400, 404, 500, 501)) if row.get("response_body")]
    for row in rows:
        error = json.loads(row["response_body"])
        assert not problems(recorded_document(), row["path"], row["method"].lower(), error, status=row["http_status"]), row["id"]
    assert len(rows) > 50


X = Tensor("float32", (None, 3))
SIGNATURES = {
    "serving_default": Interface({"x": X}, {"y": X}),
    "pair": Interface({"a": X, "b": Tensor("int8", (2,))}, {"y": Tensor("string", (2,)), "y_bytes": Tensor("string", (2,))}),
    "scalar": Interface({"x": Tensor("bool", ())}, {"y": X}),
    "half": Interface({"x": Tensor("float16", (None,))}, {"y": X}),
    "any/rank": Interface({"x": Tensor("float64", None)}, {"y": Tensor("uint64", None)}),
    "classify": Interface({"inputs": Tensor("string", (None,))}, {"scores": X}, CLASSIFY),
}
EXAMPLE = document("d", "1", [ServedModel("a b.c", {1: SIGNATURES, 2: {"serving_default": SIGNATURES["pair"]}}, {"old": 1})])
PATH = "/v1/models/a%20b.c"


def test_each_version_and_label_has_its_paths() -> None:
    check_document(EXAMPLE)
    calls = ("", "/metadata", ":predict")
    old = [f"{PATH}/{which}{what}" for which in ("labels/old", "versions/1") for what in (*calls, ":classify")]
    new = [f"{PATH}{which}{what}" for which in ("", "/versions/2") for what in calls]
    assert sorted(EXAMPLE["paths"]) == sorted(old + new)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"instances": [[1, 2, 3.5]]}, True),
        ({"instances": [{"x": [1, 2, 3]}], "signature_name": "serving_default"}, True),
        ({"inputs": []}, True),
        ({"inputs": {"x": [[1, 2, 3]]}, "signature_name": ""}, True),
        ({"instances": []}, False),
        ({"instances": [[1, 2]]}, False),
        ({"instances": [[1, 2, "3"]]}, False),
        ({"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}, False),
        ({"instances": [{"z": [1, 2, 3]}]}, False),
        ({"instances": [{"a": [1, 2, 3], "b": 1}] * 2, "signature_name": "pair"}, True),
        ({"instances": [{"a": [1, 2, 3], "b": 1}] * 3, "signature_name": "pair"}, False),
        ({"instances": [{"a": [1, 2, 3], "b": 128}] * 2, "signature_name": "pair"}, False),
        ({"instances": [{"a": [1, 2, 3]}] * 2, "signature_name": "pair"}, False),
        ({"inputs": {"a": [[1, 2, 3]], "b": [1, 2]}, "signature_name": "pair"}, True),
        ({"inputs": True, "signature_name": "scalar"}, True),
        ({"instances": [True], "signature_name": "scalar"}, False),
        ({"inputs": [1.5], "signature_name": "half"}, False),
        ({"inputs": [[[1.5]]], "signature_name": "any/rank"}, True),
        ({"inputs": {"inputs": [{"b64": "YQ=="}]}, "signature_name": "classify"}, True),
        ({"instances": [[1, 2, 3]], "signature_name": "gone"}, False),
    ],
)
def test_request_fits_or_does_not(body: Any, fits: bool) -> None:
    assert (not problems(EXAMPLE, f"{PATH}/versions/1:predict", "post", body)) == fits


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"predictions": [[1, 2, 3]]}, True),
        ({"predictions": [{"y": "a", "y_bytes": {"b64": "YQ=="}}] * 2}, True),
        ({"predictions": [{"y": "a", "y_bytes": "a"}] * 2}, False),
        ({"outputs": [[1, 2, 3]]}, True),
        ({"outputs": [2**64]}, True),  # of unknown rank
        ({"predictions": ["a"]}, False),
        ({}, False),
    ],
)
def test_answer_fits_or_does_not(body: Any, fits: bool) -> None:
    assert (not problems(EXAMPLE, f"{PATH}/labels/old:predict", "post", body, status=200)) == fits


def test_signature_that_json_cannot_carry_is_named() -> None:
    assert obstacle(SIGNATURES["half"]) == "JSON cannot carry input x of type float16; use gRPC"
    assert obstacle(Interface({}, {})) == "it has no inputs"
    assert "a b.c version 1: :predict cannot be called for signature half" in EXAMPLE["info"]["description"]


def test_open_inference_protocol_is_described_if_it_is_served() -> None:
    made = document("d", "1", [ServedModel("m", {1: SIGNATURES})], open_inference=True)
    check_document(made)
    paths = [path for path in made["paths"] if path.startswith("/v2")]
    below = ("health/live", "health/ready", "models/m", "models/m/ready", "models/m/infer")
    assert paths == ["/v2", *(f"/v2/{path}" for path in below)]
    item = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    for body, fits in (
        ({"inputs": [item]}, True),
        ({"inputs": [{**item, "shape": [1, 4]}]}, False),
        ({"inputs": [{**item, "datatype": "FP16"}]}, False),
        ({"inputs": [item, item]}, False),
        ({"inputs": [item], "parameters": {"signature_name": "pair"}}, False),
        ({"inputs": [{**item, "datatype": "FP16", "shape": [4]}], "parameters": {"signature_name": "half"}}, True),
    ):
        assert (not problems(made, "/v2/models/m/infer", "post", body)) == fits, body
