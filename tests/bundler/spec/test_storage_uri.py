"""kubernetes.storage_uri: addresses that KServe can serve a bundle from, and the reason why the others are refused."""

from __future__ import annotations

import pytest

from bundler.spec.storage_uri import EXAMPLES, check_storage_uri, scheme

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "uri",
    [
        *EXAMPLES.values(), "s3://bucket", "gs://b/a_1/", f"oci://localhost:5000/a/b:1@{DIGEST}", f"oci+native://ghcr.io/a@{DIGEST}",
        "pvc://claim", "hf://owner/repo", "hf://Owner/Repo_1.0:a1b2/of/models", "https://host:8443/a/b.tgz", "https://h/a.zip",
    ],
)  # fmt: skip
def test_addresses_of_kserve_are_kept(uri: str) -> None:
    assert check_storage_uri(uri) == uri
    assert uri.startswith(f"{scheme(uri)}://")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("digits", "it begins with s3://, gs://, pvc://, hf://, https://, oci://, oci+native://"),
        ("ftp://host/a.zip", "is not an address that KServe knows"),
        ("http://host/a.zip", "serve the archive with https://"),
        ("file:///models", "copy them to a claim"),
        ("gcs://bucket", "KServe calls this store gs://"),
        ("https://account.blob.core.windows.net/models/digits.zip", "has not been tried with a bundle"),
        ("https://github.com/a/b.git", "a clone of a Git repository"),
        ("https://host/digits", "KServe unpacks .tar, .tar.gz, .tgz and .zip"),
        ("https://user:password@host/a.zip", "does not have the form"),
        ("https://host/a.zip?signature=x", "does not have the form"),
        ("https://host/../a.zip", "does not have the form"),
        ("hf://repo", "write it like hf://owner/repository:revision"),
        ("hf://a/b/../c", "does not have the form"),
        ("pvc://My_Claim", "write it like pvc://claim/models"),
        ("s3://bucket/a b", "write it like s3://bucket/models"),
        ("oci://team/digits:1", "it lacks the registry's host"),
        ("oci+native://ghcr.io/Digits", "it does not name an image"),
        ("oci+fetch://ghcr.io/digits:1", "use oci+native://"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_storage_uri(uri)
    assert reason in str(caught.value)
