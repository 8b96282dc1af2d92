"""What a user reads when a store cannot be used."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.delivery.stores.failures import explained
from bundler.delivery.stores.store import open_store
from bundler.errors import DeliveryError
from bundler.operations.stores import push_store
from bundler.values.addresses import StoreAddress
from tests.bundler.delivery.stores.buckets import Bucket

ADDRESS = StoreAddress("s3", "bucket/digits")


@pytest.fixture
def fresh_s3() -> Callable[[], None]:
    """Return a function after which s3fs reads the environment again."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    return S3FileSystem.clear_instance_cache


def failure(action: Callable[[], object]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        action()
    return caught.value


def test_missing_credentials(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_s3: Callable[[], None]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    error = failure(open_store(bucket.address()).open)
    fresh_s3()
    assert error.code == "TFB9102" and "AWS_ACCESS_KEY_ID" in str(error.fix)


def test_a_bucket_that_does_not_exist(bucket: Bucket, digits: Path) -> None:
    address = StoreAddress("s3", "no-such-bucket/digits")
    for action in (open_store(address).open, lambda: push_store(digits, address)):
        error = failure(action)
        assert error.code == "TFB9104" and error.what == "There is no bucket s3://no-such-bucket."


def test_a_server_that_cannot_be_reached(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fresh_s3: Callable[[], None]
) -> None:
    from s3fs import S3FileSystem

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setattr(S3FileSystem, "retries", 1)
        error = failure(open_store(bucket.address()).open)
    fresh_s3()
    assert error.code == "TFB9105" and "check the network and the endpoint" in str(error.fix)


class ClientPayloadError(Exception):
    """As aiohttp's: the connection ended inside a body."""


class RefreshError(Exception):
    """As google.auth's: a token cannot be renewed."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError("Access Denied"), "TFB9103"),
        (OSError("Forbidden: b/digits\nno storage.objects.create access"), "TFB9103"),
        (ClientPayloadError("cut off"), "TFB9105"),
        (TimeoutError(), "TFB9105"),
        (RefreshError("expired"), "TFB9102"),
        (FileNotFoundError("The specified bucket does not exist"), "TFB9104"),
        (OSError(16, "SlowDown: reduce your request rate"), "TFB9106"),
        (ValueError("something else"), "TFB9106"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_each_kind_of_failure_has_its_own_message(error: Exception, code: str) -> None:
    def action() -> None:
        with explained(ADDRESS, "reading bundle.json"):
            raise error

    found = failure(action)
    assert (found.code, found.where) == (code, "s3://bucket/digits") and found.fix


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied", "/tmp/x"), OSError(28, "No space left on device"), FileNotFoundError("x")]
)
def test_errors_of_this_machine_and_missing_objects_stay_what_they_are(error: OSError) -> None:
    with pytest.raises(type(error)) as caught, explained(ADDRESS, "downloading x"):
        raise error
    assert caught.value is error


def test_a_write_that_finds_nothing_misses_the_bucket() -> None:
    def action() -> None:
        with explained(ADDRESS, "writing bundle.json", writes=True):
            raise FileNotFoundError("b/bucket")

    assert failure(action).code == "TFB9104"
