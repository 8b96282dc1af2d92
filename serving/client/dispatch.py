"""What the settings of a connection add to each request: headers, a fresh token, and further tries.

`Dispatch.steps` wraps the steps of a call, once for both clients. `RetryPolicy` has the rule of repetition.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from serving.client.connection import ConnectionSettings, RetryPolicy
from serving.client.steps import Headers, Pause, Request, Steps, T, with_exchange
from serving.client.tokens import token_source
from serving.client.transport import Target
from serving.errors import ConnectionFailedError, DeadlineError, RequestError, ServingError

_LEAST_SECONDS = 0.001
"""The shortest time that is worth another try."""


class Dispatch:
    """Sends the requests of a client's calls as its settings say.

    Args:
        settings: the settings.
        target: the server's address.

    Raises:
        TargetError: a secret would be sent without encryption.
        ConfigError: the token file cannot be read.
    """

    def __init__(self, settings: ConnectionSettings, target: Target) -> None:
        self._policy = settings.retry
        self._fixed: Headers = settings.credentials.pairs
        self._token = token_source(settings.credentials, target)

    def steps(self, steps: Steps[T], policy: RetryPolicy | None = None) -> Steps[T]:
        """Return steps that send what the given ones send, with headers, and again where that helps.

        Args:
            steps: the steps of one call.
            policy: when to send again; None for what the settings say.
        """
        return with_exchange(steps, partial(self._exchange, policy or self._policy))

    def headers(self, request: Request, token: str | None) -> Headers:
        """Return the headers of a request: those of its model version, of the settings, and the token."""
        headers = (*request.ref.headers, *self._fixed)
        return headers if token is None else (*headers, ("authorization", f"Bearer {token}"))

    def _exchange(self, policy: RetryPolicy, request: Request) -> Steps[Any]:
        """Send one request until it is answered, refused for good, or its time is over."""
        deadline = time.monotonic() + request.timeout
        token = self._token.current() if self._token else None
        tried, is_renewed = 0, False
        pause: float | None
        sent = request.to_send(self.headers(request, token))
        while True:
            tried += 1
            try:
                return (yield sent)
            except ServingError as exc:
                renewed = None if is_renewed else self._renewed(exc, token)
                if renewed is not None:
                    token, is_renewed, pause = renewed, True, 0.0
                else:
                    pause = _pause(exc, request, policy, tried)
                    self._explain(exc)
                remaining = deadline - time.monotonic() - (pause or 0.0)
                if pause is None or remaining < _LEAST_SECONDS:
                    if tried > 1 and isinstance(exc, DeadlineError):
                        exc.what = f"No answer within {request.timeout:g} s, in {tried} tries."
                    raise
            if pause:
                yield Pause(pause)
            remaining = max(deadline - time.monotonic(), _LEAST_SECONDS)
            sent = request.to_send(self.headers(request, token), remaining)

    def _renewed(self, exc: ServingError, token: str | None) -> str | None:
        """Return another token after the server has refused this one; None if there is no other."""
        if self._token is None or not isinstance(exc, RequestError) or exc.status != "UNAUTHENTICATED":
            return None
        renewed = self._token.renewed()
        return None if renewed == token else renewed

    def _explain(self, exc: ServingError) -> None:
        if self._token is not None and isinstance(exc, RequestError) and exc.status == "UNAUTHENTICATED":
            exc.fix = f"check that {self._token.name} has not expired, and that the server accepts its issuer and audience"


def _pause(exc: ServingError, request: Request, policy: RetryPolicy, tried: int) -> float | None:
    """Return how many seconds to wait before the next try; None if there is to be none."""
    is_lost = isinstance(exc, ConnectionFailedError) and exc.is_lost
    may_repeat = exc.is_unexecuted or (is_lost and (policy.lost or request.is_read))
    if not may_repeat or tried >= policy.attempts:
        return None
    if exc.retry_after is not None:
        return exc.retry_after if exc.retry_after >= 0 else None
    pause = min(policy.first_pause * 2.0 ** (tried - 1), policy.longest_pause)
    return pause * random.uniform(0.5, 1.0)  # spreads clients, hides nothing
