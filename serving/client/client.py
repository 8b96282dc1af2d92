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

import numpy as np
import numpy.typing as npt

from serving.client.examples import EXAMPLES, Classes, Example, to_messages
from serving.client.model_info import ModelInfo, SignatureInfo, VersionStatus
from serving.client.transport import ModelRef, Target, Transport, Verb
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    NotReadyError,
    RequestError,
    ServingError,
    TensorError,
)
from serving.protocol.messages import DEFAULT_SIGNATURE
from serving.protocol.tensors import Array, as_array, bfloat16_from_float32

_POLL_SECONDS = (0.02, 1.0)
"""First and longest pause between two requests for a model's state."""


class Client:
    """A client of one server, safe to use from several threads; close it, or use it as a context manager.

    Args:
        target: `host:port` or a URL, see `serving.client.transport.Target`.
        rest: whether a target without a scheme is a REST port.
        timeout: seconds to wait for an answer, unless a call sets its own.
        rest_format: form of the JSON over REST: one list per tensor (`column`) or one object per example (`row`).
        root_certificates: PEM of the certificate authority to trust over TLS; None trusts the system's.

    Raises:
        TargetError: the target is not an address.
    """

    def __init__(
        self,
        target: str,
        *,
        rest: bool = False,
        timeout: float = 30.0,
        rest_format: Literal["column", "row"] = "column",
        root_certificates: bytes | None = None,
    ) -> None:
        self.target = Target.parse(target, rest=rest)
        self.timeout = timeout
        self._transport = _open(self.target, rest_format, root_certificates)

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
            ConnectionFailedError, DeadlineError, TensorError, ProtocolError: see `serving.errors`.
        """
        ref = ModelRef(model, version, label)
        seconds = self.timeout if timeout is None else timeout
        signature = signature or DEFAULT_SIGNATURE
        arrays = self._arrays(ref, signature, {**(inputs or {}), **named}, seconds)
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
        seconds = self.timeout if timeout is None else timeout
        return self._transport.classify(ModelRef(model, version, label), signature, to_messages(examples), seconds)

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
        seconds = self.timeout if timeout is None else timeout
        return self._transport.regress(ModelRef(model, version, label), signature, to_messages(examples), seconds)

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
        ref, signature = ModelRef(model, version, label), signature or DEFAULT_SIGNATURE
        if verb != "Predict":
            examples = to_messages([bytes(example) for example in np.asarray(inputs[EXAMPLES], np.object_).tolist()])
            return self._transport.prepare_examples(verb, ref, signature, examples, self.timeout)
        arrays = self._arrays(ref, signature, dict(inputs), self.timeout)
        return self._transport.prepare(ref, signature, arrays, self.timeout)

    def _arrays(self, ref: ModelRef, signature: str, inputs: dict[str, Any], seconds: float) -> dict[str, Array]:
        info: SignatureInfo | None = None
        if not all(hasattr(value, "__array__") for value in inputs.values()):
            info = self._transport.metadata(ref, seconds).signatures.get(signature)
        return {
            # asanyarray keeps the class BFloat16Bits.
            name: np.asanyarray(value) if hasattr(value, "__array__") else _typed(name, value, info)
            for name, value in inputs.items()
        }

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Return the signatures of a served version: names, dtypes and dims of their tensors. Errors as in `predict`."""
        seconds = self.timeout if timeout is None else timeout
        return self._transport.metadata(ModelRef(model, version, label), seconds)

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows, in ascending order. Errors as in `predict`."""
        seconds = self.timeout if timeout is None else timeout
        return self._transport.status(ModelRef(model, version), seconds)

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
            timeout: seconds to wait.
            ended: called between two requests; returns why the server has ended, or None while it runs.

        Raises:
            NotReadyError: the version was not AVAILABLE in time, or could not be loaded; with its last known state.
            ServingError: the error that `ended` returned.
        """
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


def _open(target: Target, rest_format: Literal["column", "row"], certificates: bytes | None) -> Transport:
    if target.rest:
        from serving.client.rest_transport import RestTransport

        return RestTransport(target, row=rest_format == "row", root_certificates=certificates)
    from serving.client.grpc_transport import GrpcTransport

    return GrpcTransport(target, root_certificates=certificates)


def _not_ready(what: str, model: str, version: int | None, target: Target) -> NotReadyError:
    fix = "read the server's log: it names the folder that it watches and says why a version could not be loaded"
    return NotReadyError(f"The model {ModelRef(model, version)} {what}", where=str(target), fix=fix)


def _typed(name: str, value: Any, info: SignatureInfo | None) -> Array:
    """Return a list or number as an array of the signature's dtype; an unknown name is left for the server to reject."""
    dtype = info.inputs[name].dtype if info and name in info.inputs else None
    try:
        if dtype == "bfloat16":
            return bfloat16_from_float32(np.asarray(value, np.float32))
        return as_array(value) if dtype is None else np.asarray(value, {"string": np.object_}.get(dtype, dtype))
    except (ValueError, TypeError, OverflowError) as exc:
        raise TensorError(
            f"The input {name!r} is not a {dtype or 'valid'} tensor: {exc}.",
            fix="give numbers of that dtype, or nested lists of equal lengths",
        ) from exc
