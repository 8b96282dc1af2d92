from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from bundler.bundle.manifest import Manifest
from bundler.process.cache import CACHE_ENV
from tests.bundler.delivery.stores.buckets import Bucket, s3_server


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
def digits(small_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the small bundle, in a folder of the name `digits`."""
    return copytree(small_bundle, tmp_path / "local" / "digits")


@pytest.fixture
def with_second_version(digits: Path, tmp_path: Path) -> Path:
    """Return a copy of `digits` that has a version 2 with other weights, as a build would add it."""
    return add_version(copytree(digits, tmp_path / "second" / "digits"), 2)


def add_version(bundle: Path, number: int) -> Path:
    """Add a version to a bundle: the files of version 1, one of them changed, and a changed report."""
    from bundler.bundle.layout import BundleLayout
    from bundler.bundle.staging import Staging

    layout = BundleLayout(bundle)
    manifest = Manifest.read(layout.manifest)
    (model,) = manifest.models
    with Staging(bundle) as staging:
        for part in layout.version_parts(model, 1):
            target = staging.layout.root / layout.relative(part).replace("/1", f"/{number}")
            target.parent.mkdir(parents=True, exist_ok=True)
            copytree(part, target) if part.is_dir() else target.write_bytes(part.read_bytes())
        marked = staging.layout.version_dir(model, number) / "variables" / "variables.index"
        marked.write_bytes(marked.read_bytes() + bytes([number]))
        staging.layout.report.write_bytes(layout.report.read_bytes() + f"<!-- {number} -->".encode())
        staging.publish(manifest.with_version(model, number, manifest.models[model][1]))
    return bundle
