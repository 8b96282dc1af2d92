"""What a publication into a store uploads, and what a store has at every moment."""

from __future__ import annotations

from pathlib import Path

from bundler.operations.stores import pull_store, push_store, verify_store
from tests.bundler.delivery.stores.buckets import Bucket, tree


def test_a_bundle_comes_back_from_a_bucket_with_its_empty_folders(bucket: Bucket, digits: Path, tmp_path: Path) -> None:
    empty = digits / "models" / "mlp" / "1" / "assets"
    assert empty.is_dir() and not any(empty.iterdir())
    push_store(digits, bucket.address())
    pull_store(bucket.address(), tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)
    found = verify_store(bucket.address())
    assert (found.problems, found.by_checksum, found.by_download) == ([], found.files, 0)
