from __future__ import annotations

from pathlib import Path

import pytest

from bundler.delivery.stores.check import check
from bundler.delivery.stores.store import Store, open_store
from bundler.delivery.transfers import ignore
from bundler.operations.stores import push_store
from tests.bundler.delivery.stores.buckets import Bucket, memory_address
from tests.bundler.delivery.stores.tiny import MODEL


def test_a_bucket_is_checked_without_a_download(bucket: Bucket, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_store(digits, bucket.address())
    monkeypatch.setattr(Store, "download", None)
    found = check(open_store(bucket.address()), ignore)
    assert (found.findings, found.by_checksum, found.by_download) == ([], len(found.manifest.files), 0)


def test_every_difference_is_found(bucket: Bucket, digits: Path) -> None:
    push_store(digits, bucket.address())
    weights = f"models/{MODEL}/1/variables/variables.data-00000-of-00001"
    data = bucket.read(f"digits/{weights}")
    bucket.write(f"digits/{weights}", b"X" + data[1:])
    bucket.write("digits/report.html", b"shorter")
    bucket.write(f"digits/models/{MODEL}/1/model.tflite", b"planted")
    bucket.write("digits/notes.txt", b"own")
    bucket.write("digits/attestations/signature.sigstore.json", b"which bundle.json does not list")
    bucket.client.delete_object(Bucket=bucket.name, Key=f"digits/golden/{MODEL}/1.npz")
    found = check(open_store(bucket.address()), ignore)
    texts = {finding.path: (finding.message.split(":")[0].split(" (")[0], finding.serious) for finding in found.findings}
    assert texts == {
        f"golden/{MODEL}/1.npz": ("missing", True),
        weights: ("changed", True),
        f"models/{MODEL}/1/model.tflite": ("not part of the bundle", True),
        "notes.txt": ("not part of the bundle", False),
        "report.html": ("changed", True),
    }
    assert found.by_download == 1  # the weights, which another tool wrote


def test_a_store_without_checksums_is_downloaded_and_a_changed_byte_found(digits: Path) -> None:
    address = memory_address()
    push_store(digits, address)
    store = open_store(address)
    assert check(store, ignore).by_download == len(store.open().manifest.files)
    data = store.read("report.html") or b""
    store.write("report.html", data[:-1] + b"X")
    (finding,) = check(store, ignore).findings
    assert finding.path == "report.html" and "sha256" in finding.message
