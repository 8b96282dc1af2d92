"""Client of a TensorFlow Serving server over gRPC or REST; needs only grpcio, protobuf and NumPy.

The client speaks REST if the target is an HTTP URL (`http://localhost:8501`), or with `rest=True`.

    with Client("localhost:8500") as client:
        client.wait_until_ready("digits", timeout=60)
        scores = client.predict("digits", image=array)["scores"]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy.typing as npt

from serving.client import arguments
from serving.client.examples import EXAMPLES, Classes, Example, to_messages
from serving.client.model_info import ModelInfo, SignatureInfo, VersionStatus
from serving.client.transport import MAX_RESPONSE_BYTES, VERBS, ModelRef, Target, Transport, Verb
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    NotReadyError,
    RequestError,
    ServingError,
    TargetError,
)
from serving.protocol.messages import DEFAULT_SIGNATURE
from serving.protocol.tensors import Array

_POLL_SECONDS = (0.02, 1.0)
"""First and longest pause between two requests for a model's state."""


class Client:
    """A client of one server, safe to use from several threads; close it, or use it as a context manager.

    A request that names a label or a version carries it also as a header, `x-model-label` or `x-model-version` (over gRPC, as
    metadata), so that a gateway can send it to the servers of that version. Labels that are not visible ASCII, or are longer than
    256 characters, are sent without.

    Args:
        target: `host:port` or a URL, see `serving.client.transport.Target`.
        rest: whether a target without a scheme is a REST port.
        timeout: seconds to wait for an answer, unless a call sets its own.
        rest_format: form of the JSON over REST: one list per tensor (`column`) or one object per example (`row`).
        root_certificates: PEM of the certificate authority to trust over TLS; None trusts the system's.
        max_response_bytes: most bytes of an answer, and of the arrays or JSON values that it is decoded to. A server can
            describe a huge tensor in a few bytes; an answer beyond the limit is a ProtocolError.

    Raises:
        TargetError: the target is not an address, or another argument is wrong.
    """

    def __init__(
        self,
        target: str,
        *,
        rest: bool = False,
        timeout: float = 30.0,
        rest_format: Literal["column", "row"] = "column",
        root_certificates: bytes | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.target = Target.parse(target, rest=arguments.flag(rest, "rest"))
        self.timeout = arguments.seconds(timeout)
        is_row = arguments.choice(rest_format, "rest_format", ("column", "row")) == "row"
        limit = arguments.integer(max_response_bytes, "max_response_bytes", 1, 2**63 - 1)
        self._transport = _open(self.target, is_row, arguments.certificates(root_certificates), limit)

    def _seconds(self, timeout: float | None) -> float:
        return arguments.seconds(self.timeout if timeout is None else timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        /,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        **named: npt.ArrayLike,
    ) -> dict[str, Array]:
        """Run a signature.

        Args:
            model: name of the model.
            inputs: tensors by input name, for names that are not valid keywords or are parameters of this method.
            version: version of the model; None lets the server choose (its latest one).
            label: label of a version, instead of `version`.
            signature: name of the signature; None for `serving_default`.
            timeout: seconds to wait for the answer; None for the client's own.
            **named: tensors by input name. Arrays are sent unchanged; lists and numbers are converted to the
                signature's dtype.

        Returns:
            Arrays by output name, with the shapes and dtypes that the server answers. Strings are object arrays of bytes;
            for bfloat16, see `serving.protocol.tensors`.

        Raises:
            RequestError: the server refused the request; the message is the server's.
            TargetError, TensorError: an argument is wrong; the message names it.
            ConnectionFailedError, DeadlineError, ProtocolError: see `serving.errors`.
        """
        ref, seconds = ModelRef(model, version, label), self._seconds(timeout)
        signature = _signature(signature) or DEFAULT_SIGNATURE
        arrays = self._arrays(ref, signature, arguments.named_inputs(inputs, named), seconds)
        return self._transport.predict(ref, signature, arrays, seconds)

    def classify(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "classify",
        timeout: float | None = None,
    ) -> Classes:
        """Return the classes of each example: a list of (label, score) pairs per example.

        Args:
            model: name of the model.
            examples: features by name, or serialized tf.Examples.
            version: version of the model; None lets the server choose.
            label: label of a version, instead of `version`.
            signature: name of the signature.
            timeout: seconds to wait for the answer; None for the client's own.

        Raises:
            ServingError: as in `predict`.
        """
        ref, seconds = ModelRef(model, version, label), self._seconds(timeout)
        messages = to_messages(arguments.examples(examples))
        return self._transport.classify(ref, _signature(signature), messages, seconds)

    def regress(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "regress",
        timeout: float | None = None,
    ) -> list[float]:
        """Return one number per example. Arguments and errors are those of `classify`."""
        ref, seconds = ModelRef(model, version, label), self._seconds(timeout)
        messages = to_messages(arguments.examples(examples))
        return self._transport.regress(ref, _signature(signature), messages, seconds)

    def prepare(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        verb: Verb = "Predict",
    ) -> Callable[[], object]:
        """Encode a request once, for load generators.

        Args:
            model: name of the model.
            inputs: tensors by input name; Classify and Regress have one input, `inputs`, of serialized tf.Examples.
            version: version of the model; None lets the server choose.
            label: label of a version, instead of `version`.
            signature: name of the signature; None for `serving_default`.
            verb: the RPC.

        Returns:
            A function that sends the request and waits for the whole answer, which it does not decode. It raises the
            errors of `predict`.

        Raises:
            ServingError: as in `predict`.
        """
        ref, signature = ModelRef(model, version, label), _signature(signature) or DEFAULT_SIGNATURE
        arguments.choice(verb, "verb", VERBS)
        given, seconds = arguments.named_inputs(inputs), self._seconds(None)
        if verb == "Predict":
            return self._transport.prepare(ref, signature, self._arrays(ref, signature, given, seconds), seconds)
        if set(given) != {EXAMPLES}:
            raise TargetError(
                f"{verb} has the one input {EXAMPLES!r}, not {arguments.shown(sorted(given))}.",
                fix=f"give {{{EXAMPLES!r}: [serialized tf.Examples]}}",
            )
        examples = to_messages(arguments.examples(given[EXAMPLES], EXAMPLES))
        return self._transport.prepare_examples(verb, ref, signature, examples, seconds)

    def _arrays(self, ref: ModelRef, signature: str, inputs: dict[str, Any], seconds: float) -> dict[str, Array]:
        info: SignatureInfo | None = None
        if not all(hasattr(value, "__array__") for value in inputs.values()):
            info = self._transport.metadata(ref, seconds).signatures.get(signature)
        dtypes = {name: tensor.dtype for name, tensor in info.inputs.items()} if info else {}
        return {
            name: arguments.array(name, value)
            if hasattr(value, "__array__")
            else arguments.typed_array(name, value, dtypes.get(name))
            for name, value in inputs.items()
        }

    def __repr__(self) -> str:
        return f"Client({str(self.target)!r})"

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Return the signatures of a served version: names, dtypes and dims of their tensors. Errors as in `predict`."""
        return self._transport.metadata(ModelRef(model, version, label), self._seconds(timeout))

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows, in ascending order. Errors as in `predict`."""
        return self._transport.status(ModelRef(model, version), self._seconds(timeout))

    def wait_until_ready(
        self,
        model: str,
        version: int | None = None,
        timeout: float = 60.0,
        *,
        ended: Callable[[], ServingError | None] = lambda: None,
    ) -> VersionStatus:
        """Wait until a version is AVAILABLE, and return its state.

        Args:
            model: name of the model.
            version: the version to wait for; None for any, of which the newest available one is returned.
            timeout: seconds to wait; with 0, the state is requested once.
            ended: called between two requests; returns why the server has ended, or None while it runs.

        Raises:
            NotReadyError: the version was not AVAILABLE in time, or could not be loaded; with its last known state.
            ServingError: the error that `ended` returned.
        """
        timeout = arguments.seconds(timeout, or_zero=True)
        if not callable(ended):
            raise TargetError(f"The argument ended is not a function: {arguments.shown(ended)}.", fix="leave it out")
        deadline = time.monotonic() + timeout
        pause, longest = _POLL_SECONDS
        while True:
            state = self._available_version(model, version, max(deadline - time.monotonic(), 0.05))
            if isinstance(state, VersionStatus):
                return state
            if error := ended():
                raise error
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise _not_ready(f"was not ready within {timeout:.3g} s: {state}", model, version, self.target)
            time.sleep(min(pause, remaining))
            pause = min(pause * 2, longest)

    def _available_version(self, model: str, version: int | None, seconds: float) -> VersionStatus | str:
        """Return the state of an available version, or the reason why there is none."""
        try:
            states = self._transport.status(ModelRef(model, version), min(seconds, 5.0))
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


def _open(target: Target, is_row: bool, certificates: bytes | None, max_response_bytes: int) -> Transport:
    if target.rest:
        from serving.client.rest_transport import RestTransport

        return RestTransport(target, row=is_row, root_certificates=certificates, max_response_bytes=max_response_bytes)
    from serving.client.grpc_transport import GrpcTransport

    return GrpcTransport(target, root_certificates=certificates, max_response_bytes=max_response_bytes)


def _not_ready(what: str, model: str, version: int | None, target: Target) -> NotReadyError:
    fix = "read the server's log: it names the folder that it watches and says why a version could not be loaded"
    return NotReadyError(f"The model {ModelRef(model, version)} {what}", where=str(target), fix=fix)
