"""Requests to a registry: oras-py, with time limits, retries that end in a clear message, and streamed bodies.

oras-py's own `do_request` waits for ever, sleeps for minutes before it reports a wrong password, does not repeat after the
status 429 or 503, and repeats a body that has been read already as an empty one; its `put_upload` reads the whole blob into
memory, and nothing compares a digest. So the session, the tokens and the credential helpers are those of oras-py, and this class
has the request itself; `bundler.delivery.oci.registry` has uploads and downloads.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import oras.provider
import requests
from oras.utils import append_url_params
from requests.adapters import HTTPAdapter

from bundler.delivery.oci import refusals
from bundler.delivery.oci.credentials import DockerAuth
from bundler.delivery.oci.hosts import api_host, check_insecure

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0
TRANSIENT = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0

CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""What requests raises if a connection cannot be made, or breaks."""


@dataclass(frozen=True)
class Patience:
    """How often a request is repeated.

    Attributes:
        attempts: how many requests are made at most.
        first_wait: seconds before the second one; each further wait is twice as long.
        sleep: waits for a number of seconds.
    """

    attempts: int = 5
    first_wait: float = 0.5
    sleep: Callable[[float], None] = time.sleep

    def wait(self, failures: int, retry_after: str = "") -> None:
        """Wait before the next attempt, at least as long as the registry asks for, up to a minute."""
        backoff = self.first_wait * 2 ** (failures - 1) * random.uniform(0.8, 1.2)
        self.sleep(min(_LONGEST_WAIT, max(backoff, _seconds(retry_after))))


def _seconds(retry_after: str) -> float:
    """Return the seconds that the header Retry-After asks to wait (RFC 9110, 10.2.3); 0 for none."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


class _TimeLimits(HTTPAdapter):
    """Gives every request of the session, those for tokens too, a limit for connecting and for each read."""

    def send(self, request: Any, *args: Any, **settings: Any) -> Any:
        settings["timeout"] = settings.get("timeout") or (_CONNECT_SECONDS, _READ_SECONDS)
        return super().send(request, *args, **settings)


class Transport(oras.provider.Registry):  # type: ignore[misc]  # oras has no types
    """Makes the requests to one registry.

    Attributes:
        patience: how often a request is repeated.
    """

    def __init__(self, registry: str, *, insecure: bool = False, patience: Patience | None = None) -> None:
        """Read the credentials; nothing is sent yet.

        Args:
            registry: host of the registry, with its port if it has one.
            insecure: speak plain HTTP; only with a registry on this machine.
            patience: how often a request is repeated.

        Raises:
            UsageError: `insecure` and another machine, or Docker's configuration is damaged.
        """
        if insecure:
            check_insecure(registry)
        super().__init__(hostname=api_host(registry), insecure=insecure)
        self.patience = patience or Patience()
        self.session.auth = lambda request: request  # else requests sends the password of ~/.netrc in place of the token
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _TimeLimits())
        self.auth = DockerAuth(registry, str(self.hostname), insecure=insecure)
        self.auth.session, self.auth.prefix, self.auth._tls_verify = self.session, self.prefix, self._tls_verify
        log = logging.getLogger("oras.logger")  # its warnings are part of the messages here
        log.propagate = False
        log.addHandler(logging.NullHandler())

    def url(self, path: str) -> str:
        """Return the URL of a path of the API, such as `NAME/blobs/DIGEST`."""
        return f"{self.prefix}://{self.hostname}/v2/{path}"

    def location(self, response: Any) -> str:
        """Return the URL of an upload that the registry names; it may be relative, and on another host.

        Raises:
            DeliveryError: the registry names none, or one without encryption.
        """
        url = urljoin(response.url, response.headers.get("Location", ""))
        if "Location" not in response.headers or (self.prefix == "https" and urlsplit(url).scheme != "https"):
            raise refusals.unexpected(response, "it names no encrypted address to upload to")
        return str(url)

    def with_digest(self, url: str, digest: str) -> str:
        """Return the URL that ends an upload."""
        return str(append_url_params(url, {"digest": digest}))

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> Any:
        """Make one request, and once more if the registry asks for credentials; its status is the caller's to judge.

        Args:
            url: the URL.
            method: the method.
            data: the body: bytes, or an object with a length that yields them anew each time.
            headers: headers in addition to those for authentication.
            json: a body to be written as JSON.
            stream: whether the response's body is left to be read in parts.

        Raises:
            requests.RequestException: the connection cannot be made, or breaks.
            DeliveryError: the credentials would have to be sent without encryption.
        """
        def send() -> Any:
            own = {**(headers or {}), **self.auth.headers_for(url)}
            return self.session.request(method, url, data=data, json=json, headers=own, stream=stream, verify=self._tls_verify)

        response = send()
        if response.status_code == 401 and self.auth.answer(response):
            response.close()
            response = send()
        return response

    def request(self, method: str, url: str, *, passes: tuple[int, ...], **settings: Any) -> Any:
        """Make a request, again if the registry is busy or the connection breaks, and return its response.

        Args:
            method: the method.
            url: the URL.
            passes: the statuses that are the caller's to judge.
            settings: as for `do_request`.

        Raises:
            DeliveryError: the registry cannot be reached, refuses, or keeps failing.
        """
        failures = 0
        while True:
            retry_after = ""
            try:
                response = self.do_request(url, method, **settings)
                if response.status_code in passes:
                    return response
                error = refusals.refused(response, self.auth)
                is_final = response.status_code not in TRANSIENT
                retry_after = response.headers.get("Retry-After", "")
                response.close()
            except requests.RequestException as exc:
                error, is_final = refusals.unreachable(exc, url), not is_transient(exc)
                error.__cause__ = exc
            failures += 1
            if is_final or failures >= self.patience.attempts:
                raise error
            self.patience.wait(failures, retry_after)

    @contextmanager
    def explained(self, url: str) -> Iterator[None]:
        """Return a context in which a connection that breaks becomes a DeliveryError."""
        try:
            yield
        except requests.RequestException as exc:
            raise refusals.unreachable(exc, url) from exc


def is_transient(exc: Exception) -> bool:
    """Return whether a failed request is worth repeating: the connection broke, but neither name nor certificate was wrong."""
    is_final = isinstance(exc, requests.exceptions.SSLError) or "Failed to resolve" in str(exc)
    return isinstance(exc, CUT) and not is_final
