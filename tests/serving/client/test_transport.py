"""Addresses of servers and model versions, and the advice for error statuses."""

from __future__ import annotations

import pytest

from serving import Client, TargetError
from serving.client.transport import ModelRef, Target, hint


@pytest.mark.parametrize(
    ("text", "rest", "want"),
    [
        ("localhost:8500", False, "grpc://localhost:8500"),
        ("localhost:8501", True, "http://localhost:8501"),
        ("grpcs://models.example:443", False, "grpcs://models.example:443"),
        ("http://h", False, "http://h:80"),
        ("https://h/serving/", False, "https://h:443/serving"),
        ("https://h:8/v1", False, "https://h:8"),
        ("[::1]:8500", False, "grpc://[::1]:8500"),
    ],
)
def test_a_target_is_parsed(text: str, rest: bool, want: str) -> None:
    assert str(Target.parse(text, rest=rest)) == want


@pytest.mark.parametrize(
    "text", ["localhost", "", ":8500", "h:0", "h:70000", "h:x", "ftp://h:1", "grpc://h:1/x", "a b:1", "h:1\n"]
)
def test_a_malformed_target_is_a_usage_error(text: str) -> None:
    with pytest.raises(TargetError, match="localhost:8500") as caught:
        Client(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (ModelRef("digits"), "digits"),
        (ModelRef("digits", 3), "digits version 3"),
        (ModelRef("digits", label="stable"), "digits label stable"),
    ],
)
def test_a_model_version_as_text(ref: ModelRef, text: str) -> None:
    assert str(ref) == text


@pytest.mark.parametrize(
    ("ref", "headers"),
    [
        (ModelRef("digits"), ()),
        (ModelRef("digits", 0), (("x-model-version", "0"),)),
        (ModelRef("digits", label="v1.2_b-3"), (("x-model-label", "v1.2_b-3"),)),
        (ModelRef("digits", label="x" * 256), (("x-model-label", "x" * 256),)),
        (ModelRef("digits", label="a b"), ()),
        (ModelRef("digits", label="a\n"), ()),
    ],
)
def test_a_version_or_label_as_a_header(ref: ModelRef, headers: tuple[tuple[str, str], ...]) -> None:
    assert ref.headers == headers


def test_an_empty_model_name_is_refused() -> None:
    with pytest.raises(TargetError, match="name is empty"):
        ModelRef("")


def test_advice_depends_on_the_status_and_its_message() -> None:
    ref = ModelRef("digits")
    assert "client.status('digits')" in str(hint("NOT_FOUND", "Servable not found", ref))
    assert "tfbundle promote" in str(hint("INVALID_ARGUMENT", "Unrecognized servable version label: x", ref))
    assert hint("CANCELLED", "", ref) is None
