"""What an exception of fsspec or of a store's client library means to the user.

The libraries are not imported here, so the kinds of their exceptions are told apart by the names of their classes: botocore's and
aiohttp's for S3, google.auth's and gcsfs's for Google Cloud Storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bundler.bundle.staging import is_disk_full
from bundler.errors import DeliveryError, TfbundleError
from bundler.process.causes import cause_of, chain_of
from bundler.values.addresses import StoreAddress

_CREDENTIALS = ("Credential", "ProfileNotFound", "RefreshError", "ClientAuthenticationError")
_CONNECTION = (
    "ConnectionError", "ConnectionClosedError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectionError",
    "ClientPayloadError", "HTTPClientError", "IncompleteReadError", "ResponseStreamingError", "ServerTimeoutError",
    "TimeoutError", "gaierror", "ServiceRequestError", "TransportError",
)  # fmt: skip

_SIGN_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run `aws configure`",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
    "hf": "run `hf auth login`, or set HF_TOKEN",
}


@contextmanager
def explained(address: StoreAddress, doing: str, *, writes: bool = False) -> Iterator[None]:
    """Return a context that turns the exceptions of a store's library into errors for the user.

    Errors of this machine's disk (an OSError with a file name, a full disk) are raised as they are.

    Args:
        address: the bundle's address.
        doing: what was being done, as in `reading bundle.json`.
        writes: whether something is written, so that nothing but the bucket can be missing.

    Raises:
        DeliveryError: the store cannot be reached, or refuses.
        FileNotFoundError: there is no such object.
    """
    try:
        yield
    except TfbundleError:
        raise
    except Exception as exc:
        if isinstance(exc, OSError) and (exc.filename is not None or is_disk_full(exc)):
            raise
        if isinstance(exc, FileNotFoundError) and (writes or _lacks_bucket(exc)):
            raise _no_bucket(address) from exc
        if isinstance(exc, FileNotFoundError):
            raise
        raise _error(exc, address, doing) from exc


def _error(exc: Exception, address: StoreAddress, doing: str) -> DeliveryError:
    bucket = _bucket(address)
    if _lacks_bucket(exc):
        return _no_bucket(address)
    if _is(exc, _CREDENTIALS):
        what = f"There are no valid credentials for {bucket}: {cause_of(exc)}."
        fix = _SIGN_IN.get(address.scheme, "see docs/how-to/buckets.md")
        return DeliveryError(what, where=str(address), fix=fix, code="TFB9102")
    if _is_denied(exc):
        what = f"{bucket} denied {doing}: {cause_of(exc)}."
        fix = "ask for the permissions that docs/how-to/buckets.md lists, and repeat the command; it goes on where it stopped"
        return DeliveryError(what, where=str(address), fix=fix, code="TFB9103")
    if _is(exc, _CONNECTION):
        what = f"The connection to {bucket} failed while {doing}: {cause_of(exc)}."
        fix = "check the network and the endpoint, then repeat the command; it goes on where it stopped"
        return DeliveryError(what, where=str(address), fix=fix, code="TFB9105")
    what = f"{bucket} failed while {doing}: {cause_of(exc)}."
    fix = "repeat the command; run it with --debug for the traceback"
    return DeliveryError(what, where=str(address), fix=fix, code="TFB9106")


def _no_bucket(address: StoreAddress) -> DeliveryError:
    fix = "check its name, or create it with the store's own tools"
    return DeliveryError(f"There is no bucket {_bucket(address)}.", where=str(address), fix=fix, code="TFB9104")


def _bucket(address: StoreAddress) -> str:
    return f"{address.scheme}://{address.path.split('/')[0]}"


def _is_denied(exc: Exception) -> bool:
    """Return whether a store denies access: aiohttp's errors have a status, gcsfs's a code, or a text (gcsfs/retry.py)."""
    status = getattr(exc, "status", None) or getattr(exc, "code", None)
    return isinstance(exc, PermissionError) or status in (401, 403) or str(exc).startswith("Forbidden")


def _is(exc: BaseException, names: tuple[str, ...]) -> bool:
    classes = [kind.__name__ for each in chain_of(exc) for kind in type(each).__mro__]
    return any(name.endswith(end) or (end == "Credential" and end in name) for name in classes for end in names)


def _lacks_bucket(exc: BaseException) -> bool:
    """Return whether an error says that there is no such bucket; gcsfs has only a text for that."""
    return any(type(each).__name__ == "NoSuchBucket" or "bucket does not exist" in str(each) for each in chain_of(exc))
