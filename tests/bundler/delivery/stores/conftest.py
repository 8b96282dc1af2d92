from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.process.cache import CACHE_ENV
from tests.bundler.delivery.stores.buckets import Bucket, s3_server
from tests.bundler.delivery.stores.tiny import build


@pytest.fixture(scope="session")
def s3_client() -> Iterator[Any]:
    """Return boto3's client of a server of S3 that all tests of the session share."""
    with s3_server() as client:
        yield client


@pytest.fixture
def bucket(s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return a new bucket; the environment holds what s3fs needs to reach it."""
    settings = {
        "AWS_ENDPOINT_URL_S3": s3_client.meta.endpoint_url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_client)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put tfbundle's cache into the test's folder."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Return a bundle of a dozen small files, with version 1 of `digits`."""
    return build(tmp_path / "local" / "digits")
