"""Addresses of registries and stores: their parts, and what is refused."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.values.addresses import OciAddress, StoreAddress, is_remote, parse_address

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "parts", "reference"),
    [
        ("oci://localhost:5000/digits:1", ("localhost:5000", "digits", "1", None), "1"),
        ("oci://ghcr.io/org/models/digits", ("ghcr.io", "org/models/digits", None, None), "latest"),
        (f"oci://a.b/c_d/e__f@{DIGEST}", ("a.b", "c_d/e__f", None, DIGEST), DIGEST),
        (f"oci://[::1]:5000/digits:v1.0-2@{DIGEST}", ("[::1]:5000", "digits", "v1.0-2", DIGEST), DIGEST),
    ],
)
def test_addresses_of_registries(text: str, parts: tuple[str | None, ...], reference: str) -> None:
    address = OciAddress.parse(text)
    assert (address.registry, address.repository, address.tag, address.digest) == parts
    assert address.reference == reference
    assert str(address) == text
    assert address.image == text.removeprefix("oci://")
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["oci://", "oci://digits", "oci://host/Digits:1", "oci://host/a:", "oci://host/a@sha256:12", "oci://host/../a", "host/a:1",
     "oci://host/a b", "oci://user:pass@host/a", "oci://host/a:1\n"],
)  # fmt: skip
def test_other_texts_are_no_address_of_a_registry(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an address in a registry") as caught:
        OciAddress.parse(text)
    assert caught.value.code == "TFB9001"


def test_a_digest_pins_an_address() -> None:
    assert str(OciAddress.parse("oci://host/a:1").pinned(DIGEST)) == f"oci://host/a:1@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("s3://bucket/dist/", "s3", "bucket/dist"),
        ("gcs://bucket/a", "gs", "bucket/a"),
        ("https://example.com/dist", "https", "example.com/dist"),
        ("memory://dist", "memory", "dist"),
    ],
)
def test_addresses_of_stores(text: str, scheme: str, path: str) -> None:
    address = StoreAddress.parse(text)
    assert (address.scheme, address.path) == (scheme, path)
    assert parse_address(text) == address
    assert str(address) == f"{scheme}://{path}"


@pytest.mark.parametrize("text", ["s3://", "ftp://host/a", "s3:/bucket", "dist", "s3://bucket/../other"])
def test_other_texts_are_no_address_of_a_store(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not the address of a folder in a store") as caught:
        StoreAddress.parse(text)
    assert caught.value.code == "TFB9101"


def test_paths_are_not_remote() -> None:
    assert is_remote("s3://bucket/dist") and is_remote("oci://host/a") and is_remote("ftp://host")
    assert not is_remote("dist/digits") and not is_remote("C:/dist") and not is_remote("/a://b")
