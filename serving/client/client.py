"""Client of a TensorFlow Serving server over gRPC or REST; needs grpcio, protobuf and NumPy, no TensorFlow.

with Client("localhost:8500") as client:
    client.wait_until_ready("digits", timeout=60)
    scores = client.predict("digits", image=array)["scores"]

Client("http://localhost:8501")            # the same over REST
Client("localhost:8501", rest=True)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from serving.client.examples import EXAMPLES, Classes, Example, messages
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
"""First and longest pause between two looks at a model's state."""


class Client:
    """Talks to one server.

    Args:
        target: `host:port` or a URL, see `serving.client.transport.Target`.
        rest: whether a target without a scheme is a REST port.
        timeout: seconds to wait for an answer, where a call does not say.
        rest_format: JSON with one list a tensor (`column`) or one object an example (`row`).
        root_certificates: PEM of the authority to trust over TLS; None: the system's.

    Raises:
        TargetError: the target is not one.
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
            inputs: tensors by input name; needed for names that are no keyword or one of this method's own.
            signature: None: `serving_default`.
            named: tensors by input name. Arrays go as they are; lists and numbers get the signature's dtype.

        Returns:
            Outputs by name. Strings are object arrays of bytes; bfloat16 see `serving.protocol.tensors`.

        Raises:
            RequestError: the server refused; the message is its own.
            ConnectionFailedError, DeadlineError, TensorError, ProtocolError: see `serving.errors`.
        """
        ref = ModelRef(model, version, label)
        seconds = self.timeout if timeout is None else timeout
        chosen = signature or DEFAULT_SIGNATURE
        arrays = self._arrays(ref, chosen, {**(inputs or {}), **named}, seconds)
        return self._transport.predict(ref, chosen, arrays, seconds)

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
        """Labels and scores of each example, features by name or a serialized tf.Example. Errors as in `predict`."""
        seconds = self.timeout if timeout is None else timeout
        return self._transport.classify(ModelRef(model, version, label), signature, messages(examples), seconds)

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
        """A number for each example, features by name or a serialized tf.Example. Errors as in `predict`."""
        seconds = self.timeout if timeout is None else timeout
        return self._transport.regress(ModelRef(model, version, label), signature, messages(examples), seconds)

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
        """A request for load generators: encoded once; each call of what is returned sends it and waits for the whole
        answer, which is not decoded. Errors as in `predict`.

        Args:
            verb: the RPC; Classify and Regress have one input, `inputs`, of serialized tf.Examples.
        """
        ref, chosen = ModelRef(model, version, label), signature or DEFAULT_SIGNATURE
        if verb != "Predict":
            examples = messages([bytes(example) for example in np.asarray(inputs[EXAMPLES], np.object_).tolist()])
            return self._transport.prepare_examples(verb, ref, chosen, examples, self.timeout)
        arrays = self._arrays(ref, chosen, dict(inputs), self.timeout)
        return self._transport.prepare(ref, chosen, arrays, self.timeout)

    def _arrays(
        self, ref: ModelRef, signature: str, given: dict[str, Any], seconds: float
    ) -> dict[str, Array]:
        info: SignatureInfo | None = None
        if not all(hasattr(value, "__array__") for value in given.values()):
            info = self._transport.metadata(ref, seconds).signatures.get(signature)
        return {
            # asanyarray: a BFloat16Bits stays one.
            name: np.asanyarray(value) if hasattr(value, "__array__") else _typed(name, value, info)
            for name, value in given.items()
        }

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Signatures of a served version: names, dtypes and dims. Errors as in `predict`."""
        seconds = self.timeout if timeout is None else timeout
        return self._transport.metadata(ModelRef(model, version, label), seconds)

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """State of the versions that the server knows, ascending. Errors as in `predict`."""
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
        """Wait until a version (None: any) is AVAILABLE, and return its state (the newest one's).

        Args:
            ended: asked between two looks: why the server runs no more, None while it does.

        Raises:
            NotReadyError: not within `timeout` seconds, or its load has failed; with what was seen last.
            ServingError: the one that `ended` tells.
        """
        deadline = time.monotonic() + timeout
        pause, longest = _POLL_SECONDS
        while True:
            seen = self._look(model, version, max(deadline - time.monotonic(), 0.05))
            if isinstance(seen, VersionStatus):
                return seen
            if error := ended():
                raise error
            left = deadline - time.monotonic()
            if left <= 0:
                raise _not_ready(f"was not ready within {timeout:.3g} s: {seen}", model, version, self.target)
            time.sleep(min(pause, left))
            pause = min(pause * 2, longest)

    def _look(self, model: str, version: int | None, left: float) -> VersionStatus | str:
        """The state of an available version, or what keeps it from being available."""
        try:
            states = self._transport.status(ModelRef(model, version), min(left, 5.0))
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
        return "; ".join(map(str, states)) or "the server knows no version of it"


def _open(target: Target, rest_format: Literal["column", "row"], certificates: bytes | None) -> Transport:
    if target.rest:
        from serving.client.rest_transport import RestTransport

        return RestTransport(target, row=rest_format == "row", root_certificates=certificates)
    from serving.client.grpc_transport import GrpcTransport

    return GrpcTransport(target, root_certificates=certificates)


def _not_ready(what: str, model: str, version: int | None, target: Target) -> NotReadyError:
    fix = "read the server's log: it names the folder it watches and why a version does not load"
    return NotReadyError(f"The model {ModelRef(model, version)} {what}", where=str(target), fix=fix)


def _typed(name: str, value: Any, info: SignatureInfo | None) -> Array:
    """A list or number as an array of the dtype of the signature; the server judges an unknown name."""
    dtype = info.inputs[name].dtype if info and name in info.inputs else None
    try:
        if dtype == "bfloat16":
            return bfloat16_from_float32(np.asarray(value, np.float32))
        return as_array(value) if dtype is None else np.asarray(value, {"string": np.object_}.get(dtype, dtype))
    except (ValueError, TypeError, OverflowError) as exc:
        raise TensorError(
            f"The input {name!r} is no {dtype} tensor: {exc}.", fix="give rectangular lists"
        ) from exc
