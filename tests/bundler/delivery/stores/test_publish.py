"""What a publication into a store uploads, and what a store has at every moment."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from bundler.bundle.layout import version_of
from bundler.delivery.stores.private import STAGED
from bundler.delivery.stores.store import S3Store, Store
from bundler.errors import DeliveryError, UsageError, VerifyError
from bundler.operations.stores import pull_store, push_store, verify_store
from tests.bundler.delivery.stores.buckets import Bucket, memory_address, tree
from tests.bundler.delivery.stores.tiny import MODEL, build

ORDER = ["models/digits/2/saved_model.pb", "bundle.json", "report.html"]


def deny(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Let the store deny the upload of objects whose path has `part` in it."""
    real = Store.upload

    def upload(self: Store, source: Path, path: str, *more: object) -> None:
        if part in path:
            raise DeliveryError("denied", code="TFB9103")
        real(self, source, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "upload", upload)


def test_a_bundle_comes_back_from_a_bucket_with_its_empty_folders(bucket: Bucket, digits: Path, tmp_path: Path) -> None:
    assert not any((digits / "models" / MODEL / "1" / "assets").iterdir())
    pushed = push_store(digits, bucket.address())
    pull_store(bucket.address(), tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)
    assert pushed.changed and pushed.files == len([path for path in tree(digits).values() if path is not None]) - 1


def test_an_unchanged_bundle_is_not_sent_again(bucket: Bucket, digits: Path) -> None:
    push_store(digits, bucket.address())
    before = {item["Key"]: item["LastModified"] for item in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]}
    pushed = push_store(digits, bucket.address())
    after = {item["Key"]: item["LastModified"] for item in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]}
    assert (pushed.files, pushed.bytes, pushed.changed) == (0, 0, False) and before == after


def test_a_new_version_sends_its_own_files_and_the_changed_generated_ones(digits: Path) -> None:
    address = memory_address()
    push_store(digits, address)
    build(digits)
    pushed = push_store(digits, address)
    assert pushed.files == 6 + 2  # six files of the version, models.config, report.html; deployment.yaml is the same
    assert verify_store(address).problems == []


def test_bundle_json_comes_after_new_versions_and_before_replaced_files(
    bucket: Bucket, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_store(digits, bucket.address())
    build(digits)
    written: list[str] = []
    upload, replace_manifest = Store.upload, S3Store.replace_manifest

    def uploading(self: Store, source: Path, path: str, *more: object) -> None:
        written.append(path)
        upload(self, source, path, *more)  # type: ignore[arg-type]

    def replacing(self: S3Store, data: bytes, token: str | None) -> bool:
        written.append("bundle.json")
        return replace_manifest(self, data, token)

    monkeypatch.setattr(Store, "upload", uploading)
    monkeypatch.setattr(S3Store, "replace_manifest", replacing)
    push_store(digits, bucket.address())
    assert [path for path in written if path in ORDER] == ORDER
    before = written[: written.index("bundle.json")]
    assert all(path.startswith(STAGED) or version_of(path) == (MODEL, 2) for path in before)


@pytest.mark.parametrize("part", ["variables.data", "saved_model.pb", STAGED], ids=["weights", "graph", "generated"])
def test_writes_denied_halfway_leave_the_old_bundle_intact_and_the_next_push_goes_on(
    digits: Path, tmp_path: Path, part: str
) -> None:
    address = memory_address()
    push_store(digits, address)
    old = copytree(digits, tmp_path / "old")
    build(digits)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DeliveryError, match="denied"):
        deny(patch, part)
        push_store(digits, address)
    assert all(version_of(problem.path) == (MODEL, 2) for problem in verify_store(address).problems)
    pull_store(address, tmp_path / "during")
    assert tree(tmp_path / "during") == tree(old)
    push_store(digits, address)
    assert verify_store(address).problems == []
    pull_store(address, tmp_path / "after")
    assert tree(tmp_path / "after") == tree(digits)


def test_a_push_that_stops_after_bundle_json_leaves_the_new_bundle_and_the_next_one_ends_it(digits: Path, tmp_path: Path) -> None:
    address = memory_address()
    push_store(digits, address)
    build(digits)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DeliveryError, match="denied"):
        deny(patch, "report.html")
        push_store(digits, address)
    problems = verify_store(address).problems
    assert "report.html" in [problem.path for problem in problems]
    assert all(not problem.serious and "interrupted publication" in problem.message for problem in problems)
    pull_store(address, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)
    assert not push_store(digits, address).changed
    assert verify_store(address).problems == []


def test_a_bucket_policy_that_denies_writes_is_told_and_changes_nothing(
    bucket: Bucket, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_store(digits, bucket.address())
    before = {key: bucket.read(key) for key in bucket.objects() if ".tfbundle" not in key}
    build(digits)
    from s3fs import S3FileSystem

    def denied(self: S3FileSystem, method: str, *arguments: object, **options: object) -> object:
        if method == "put_object" and "variables" in str(options.get("Key")):
            raise PermissionError("Access Denied")
        return call(self, method, *arguments, **options)

    call = S3FileSystem._call_s3
    with monkeypatch.context() as patch, pytest.raises(DeliveryError) as caught:
        patch.setattr(S3FileSystem, "_call_s3", denied)
        push_store(digits, bucket.address())
    assert caught.value.code == "TFB9103" and "Access Denied" in caught.value.what
    assert {key: bucket.read(key) for key in before} == before
    push_store(digits, bucket.address())
    assert verify_store(bucket.address()).problems == []


def test_files_that_an_abandoned_push_left_do_not_get_into_a_version(digits: Path, tmp_path: Path) -> None:
    address = memory_address()
    push_store(digits, address)
    other = build(copytree(digits, tmp_path / "other" / "digits"))
    (other / "models" / MODEL / "2" / "variables" / "variables.index").unlink()
    import fsspec

    fsspec.filesystem("memory").pipe_file(f"/{address.path}/models/{MODEL}/2/model.tflite", b"of the abandoned build")
    build(digits)
    push_store(digits, address)
    assert verify_store(address).problems == []


def test_a_published_version_is_never_overwritten(digits: Path, tmp_path: Path) -> None:
    address = memory_address()
    push_store(digits, address)
    other = build(tmp_path / "other" / "digits", text="other weights")
    with pytest.raises(DeliveryError, match="another version 1 of model 'digits'"):
        push_store(other, address)
    pull_store(address, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)


def test_versions_that_only_the_store_has_are_removed_only_on_demand(digits: Path) -> None:
    address = memory_address()
    build(digits)
    push_store(digits, address)
    for part in ("models", "tflite", "golden"):
        rmtree(digits / part / MODEL / "1", ignore_errors=True)
    build(digits)
    with pytest.raises(DeliveryError, match="has version 1 of model 'digits', which the bundle lacks"):
        push_store(digits, address)
    pushed = push_store(digits, address, drop_versions=True)
    assert pushed.removed >= 6 and verify_store(address).problems == []


def test_the_second_of_two_pushes_at_once_is_refused(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = memory_address()
    push_store(digits, address)
    ours, theirs = digits, copytree(digits, tmp_path / "theirs" / "digits")
    build(ours, text="ours")
    build(theirs, text="theirs")
    failures: list[str] = []
    real = Store.upload

    def meanwhile(self: Store, *arguments: object) -> None:
        if not failures:
            failures.append("")
            with pytest.raises(DeliveryError, match=r"Another command is writing into .* \(process \d+ on .*, since ") as caught:
                push_store(theirs, address)
            failures.append(caught.value.code)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "upload", meanwhile)
    push_store(ours, address)
    assert failures[1] == "TFB9109" and verify_store(address).problems == []


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_store_that_changed_since_the_build_began_is_not_written(
    kind: str, digits: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = request.getfixturevalue("bucket").address() if kind == "s3" else memory_address()
    push_store(digits, address)
    build(digits)
    real = Store.upload

    def meanwhile(self: Store, *arguments: object) -> None:
        self.write("bundle.json", b"of another tool, without a lease")
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "upload", meanwhile)
    with pytest.raises(DeliveryError, match="Another command has published") as caught:
        push_store(digits, address)
    assert caught.value.code == "TFB9114"


def test_a_folder_with_other_files_is_refused(digits: Path, bucket: Bucket) -> None:
    bucket.write("photos/cat.jpg", b"cat")
    with pytest.raises(UsageError, match=r"has other files, such as 'cat.jpg', and is not a bundle"):
        push_store(digits, bucket.address("photos"))
    assert bucket.objects() == ["photos/cat.jpg"]


def test_a_changed_local_file_is_not_published(digits: Path) -> None:
    address = memory_address()
    (digits / "report.html").write_text("edited")
    with pytest.raises(VerifyError, match=r"report.html is missing or not as it was built"):
        push_store(digits, address)
    (digits / "models" / MODEL / "1" / "saved_model.pb").unlink()
    with pytest.raises(VerifyError):
        push_store(digits, address)


def test_a_web_server_is_read_only(digits: Path) -> None:
    from bundler.values.addresses import StoreAddress

    with pytest.raises(UsageError, match="can only be read"):
        push_store(digits, StoreAddress("https", "example.com/digits"))


def test_the_empty_folders_of_all_versions_are_kept(digits: Path, bucket: Bucket) -> None:
    push_store(digits, bucket.address())
    build(digits)
    push_store(digits, bucket.address())
    kept = json.loads(bucket.read("digits/.tfbundle/folders.json"))
    assert kept == {"empty_folders": [f"models/{MODEL}/1/assets", f"models/{MODEL}/2/assets"]}
    assert not [key for key in bucket.objects() if "/.tfbundle/" in key and not key.endswith("folders.json")]


def test_a_damaged_object_is_replaced_by_a_push_once_it_is_removed(digits: Path) -> None:
    from bundler.delivery.stores.store import open_store

    address = memory_address()
    push_store(digits, address)
    store = open_store(address)
    shorter, changed = f"models/{MODEL}/1/saved_model.pb", "report.html"
    store.write(shorter, b"x")  # another size is noticed without a checksum
    store.write(changed, b"X" + (store.read(changed) or b"")[1:])
    store.remove([changed])
    push_store(digits, address)
    assert verify_store(address).problems == []
