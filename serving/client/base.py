"""What the blocking and the asynchronous client share: their arguments, and each method as steps.

The clients differ only in how they take the steps (`serving.client.steps`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from serving.client import arguments
from serving.client.connection import ConnectionSettings, RetryPolicy, settings_of
from serving.client.dispatch import Dispatch
from serving.client.examples import EXAMPLES, Classes, Example, to_messages
from serving.client.model_info import ModelInfo, SignatureInfo, VersionStatus
from serving.client.steps import Pause, Steps
from serving.client.transport import MAX_RESPONSE_BYTES, VERBS, ModelRef, Target, Verb
from serving.client.wires import wire_to
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    NotReadyError,
    RequestError,
    ServingError,
    TargetError,
    TlsError,
)
from serving.protocol.messages import DEFAULT_SIGNATURE
from serving.protocol.tensors import Array

_POLL_SECONDS = (0.02, 1.0)
"""First and longest pause between two requests for a model's state."""

POLLING = RetryPolicy(attempts=1)
"""The policy of these requests, which are repeated anyhow."""


def not_ended() -> None:
    """Return None: a server of which nothing else is known has not ended. The default of `ended` in `wait_until_ready`."""


class BaseClient:
    """The arguments of a client, see `Client`, and the steps of its methods. Their arguments are those of the methods."""

    def __init__(
        self,
        target: str,
        *,
        rest: bool = False,
        timeout: float = 30.0,
        rest_format: Literal["column", "row"] = "column",
        root_certificates: bytes | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connection: ConnectionSettings | None = None,
    ) -> None:
        self.target = Target.parse(target, rest=arguments.flag(rest, "rest"))
        self.timeout = arguments.seconds(timeout)
        arguments.choice(rest_format, "rest_format", ("column", "row"))
        limit = arguments.integer(max_response_bytes, "max_response_bytes", 1, 2**63 - 1)
        settings = settings_of(connection, arguments.certificates(root_certificates))
        self._wire = wire_to(self.target, settings, rest_format=rest_format, max_response_bytes=limit)
        self._protocol = self._wire.protocol
        self._dispatch = Dispatch(settings, self.target)
        self._connect()

    def _connect(self) -> None:
        """Make the connections, or prepare to make them later."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.target)!r}, timeout={self.timeout:g})"

    def _seconds(self, timeout: float | None) -> float:
        return arguments.seconds(self.timeout if timeout is None else timeout)

    def _predict(
        self,
        ref: ModelRef,
        inputs: Mapping[str, Any] | None,
        named: Mapping[str, Any],
        signature: str | None,
        timeout: float | None,
    ) -> Steps[dict[str, Array]]:
        seconds = self._seconds(timeout)
        chosen = _signature(signature) or DEFAULT_SIGNATURE
        arrays = yield from self._arrays(ref, chosen, arguments.named_inputs(inputs, named), seconds)
        return (yield from self._protocol.predict(ref, chosen, arrays, seconds))

    def _classify(self, ref: ModelRef, examples: Sequence[Example], signature: str, timeout: float | None) -> Steps[Classes]:
        seconds = self._seconds(timeout)
        messages = to_messages(arguments.examples(examples))
        return self._protocol.classify(ref, _signature(signature), messages, seconds)

    def _regress(self, ref: ModelRef, examples: Sequence[Example], signature: str, timeout: float | None) -> Steps[list[float]]:
        seconds = self._seconds(timeout)
        messages = to_messages(arguments.examples(examples))
        return self._protocol.regress(ref, _signature(signature), messages, seconds)

    def _prepare(
        self, ref: ModelRef, inputs: Mapping[str, Any], signature: str | None, verb: Verb
    ) -> Steps[Callable[[], Steps[object]]]:
        chosen = _signature(signature) or DEFAULT_SIGNATURE
        arguments.choice(verb, "verb", VERBS)
        given, seconds = arguments.named_inputs(inputs), self._seconds(None)
        if verb == "Predict":
            arrays = yield from self._arrays(ref, chosen, given, seconds)
            return self._protocol.prepare(ref, chosen, arrays, seconds)
        if set(given) != {EXAMPLES}:
            raise TargetError(
                f"{verb} has the one input {EXAMPLES!r}, not {arguments.shown(sorted(given))}.",
                fix=f"give {{{EXAMPLES!r}: [serialized tf.Examples]}}",
                code="TFB7009",
            )
        examples = to_messages(arguments.examples(given[EXAMPLES], EXAMPLES))
        return self._protocol.prepare_examples(verb, ref, chosen, examples, seconds)

    def _arrays(self, ref: ModelRef, signature: str, inputs: dict[str, Any], seconds: float) -> Steps[dict[str, Array]]:
        info: SignatureInfo | None = None
        if not all(hasattr(value, "__array__") for value in inputs.values()):
            info = (yield from self._protocol.metadata(ref, seconds)).signatures.get(signature)
        dtypes = {name: tensor.dtype for name, tensor in info.inputs.items()} if info else {}
        return {
            name: arguments.array(name, value)
            if hasattr(value, "__array__")
            else arguments.typed_array(name, value, dtypes.get(name))
            for name, value in inputs.items()
        }

    def _metadata(self, ref: ModelRef, timeout: float | None) -> Steps[ModelInfo]:
        return self._protocol.metadata(ref, self._seconds(timeout))

    def _status(self, ref: ModelRef, timeout: float | None) -> Steps[list[VersionStatus]]:
        return self._protocol.status(ref, self._seconds(timeout))

    def _wait_until_ready(
        self, model: str, version: int | None, timeout: float, ended: Callable[[], ServingError | None]
    ) -> Steps[VersionStatus]:
        timeout = arguments.seconds(timeout, or_zero=True)
        if not callable(ended):
            raise TargetError(
                f"The argument ended is not a function: {arguments.shown(ended)}.", fix="leave it out", code="TFB7009"
            )
        deadline = time.monotonic() + timeout
        pause, longest = _POLL_SECONDS
        while True:
            state = yield from self._available_version(model, version, max(deadline - time.monotonic(), 0.05))
            if isinstance(state, VersionStatus):
                return state
            if error := ended():
                raise error
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise _not_ready(f"was not ready within {timeout:.3g} s: {state}", model, version, self.target)
            yield Pause(min(pause, remaining))
            pause = min(pause * 2, longest)

    def _available_version(self, model: str, version: int | None, seconds: float) -> Steps[VersionStatus | str]:
        """Return the state of an available version, or the reason why there is none."""
        try:
            states = yield from self._protocol.status(ModelRef(model, version), min(seconds, 5.0))
        except TlsError:
            raise  # waiting does not help
        except (ConnectionFailedError, DeadlineError) as exc:
            return exc.what
        except RequestError as exc:
            if exc.status not in ("NOT_FOUND", "UNAVAILABLE"):
                raise
            return exc.what
        available = [state for state in states if state.available]
        if available:
            return available[-1]
        if states and all(state.failed for state in states):
            failures = "; ".join(map(str, states))
            raise _not_ready(f"could not be loaded: {failures}", model, version, self.target)
        return "; ".join(map(str, states)) or "the server knows no version of this model"


def _signature(name: str | None) -> str:
    return "" if name is None else arguments.text(name, "signature")


def _not_ready(what: str, model: str, version: int | None, target: Target) -> NotReadyError:
    fix = "read the server's log: it names the folder that it watches and says why a version could not be loaded"
    return NotReadyError(f"The model {ModelRef(model, version)} {what}", where=str(target), fix=fix)
