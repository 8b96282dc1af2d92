"""Errors of downloads from the Hugging Face hub and other sites with published weights."""

from __future__ import annotations

from bundler.errors import SourceError
from bundler.process.causes import cause_of


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that huggingface_hub and the libraries under it raise if a file cannot be downloaded."""
    import urllib.error

    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # The HTTP library under huggingface_hub varies (requests, httpx, httpx2); its base class is also a base of HfHubHTTPError.
    http_errors = [base for base in HfHubHTTPError.__mro__ if base.__name__ in ("HTTPError", "RequestException")]
    return (
        HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, *http_errors,
        urllib.error.URLError, ConnectionError, TimeoutError,
    )  # fmt: skip


def unreachable(what: str, exc: Exception) -> SourceError:
    """Return an error that says what to do without a network.

    Args:
        what: what cannot be downloaded, at the start of the message.
        exc: the exception of the download.
    """
    return SourceError(
        f"{what} cannot be downloaded: {type(exc).__name__}: {cause_of(exc) if str(exc).strip() else 'no answer'}",
        fix="check the network, give a local file with --weights FILE, or use random weights with --no-pretrained",
        code="TFB2201",
    )
