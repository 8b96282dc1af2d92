"""The shipped tree: names and images in its files."""

from __future__ import annotations

import pytest

from bundler.render.kubernetes.tree import rename, set_image, split_image
from tests.bundler.render.conftest import make_context

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("digits", ("digits", "latest", None)),
        ("digits:2", ("digits", "2", None)),
        ("registry:5000/digits", ("registry:5000/digits", "latest", None)),
        ("registry:5000/digits:2", ("registry:5000/digits", "2", None)),
        (f"digits@{DIGEST}", ("digits", None, DIGEST)),
        (f"ghcr.io/x/y:1@{DIGEST}", ("ghcr.io/x/y", "1", DIGEST)),
    ],
)
def test_image_references_are_split(reference: str, parts: tuple[str, str | None, str | None]) -> None:
    assert split_image(reference) == parts


def test_an_image_with_a_digest_has_no_tag() -> None:
    entry = {"name": "bundle", "newName": "digits", "newTag": "1"}
    set_image(entry, f"mine@{DIGEST}")
    assert entry == {"name": "bundle", "newName": "mine", "digest": DIGEST}


def test_only_names_of_objects_are_replaced() -> None:
    others = ["digits.example.com", "/models/digits", "digits-2"]
    document = {"name": "digits", "items": ["digits-canary", *others], "nested": {"secretName": "digits-tls"}}
    rename(make_context(name="mine"), document)
    assert document == {"name": "mine", "items": ["mine-canary", *others], "nested": {"secretName": "mine-tls"}}
