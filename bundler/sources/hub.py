"""What goes wrong when published weights are fetched."""

from __future__ import annotations

from bundler.errors import SourceError


def hub_errors() -> tuple[type[Exception], ...]:
    """The exceptions by which huggingface_hub and the libraries under it say that a file cannot be had."""
    import urllib.error

    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # The HTTP library under huggingface_hub changes (requests, httpx, httpx2); its base of all errors is HfHubHTTPError's too.
    http_errors = [base for base in HfHubHTTPError.__mro__ if base.__name__ in ("HTTPError", "RequestException")]
    return (
        HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, *http_errors,
        urllib.error.URLError, ConnectionError, TimeoutError,
    )  # fmt: skip


def unreachable(what: str, exc: Exception) -> SourceError:
    """An error that says what to do without a network."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return SourceError(
        f"{what} cannot be fetched: {type(exc).__name__}: {lines[0][:200] if lines else 'no answer'}",
        fix="check the network, give a local file with --weights FILE, or take random ones with --no-pretrained",
    )
