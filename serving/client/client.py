"""Client of a TensorFlow Serving server over gRPC or REST; needs only grpcio, protobuf and NumPy.

The client speaks REST if the target is an HTTP URL (`http://localhost:8501`), or with `rest=True`.

    with Client("localhost:8500") as client:
        client.wait_until_ready("digits", timeout=60)
        scores = client.predict("digits", image=array)["scores"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy.typing as npt

from serving.client.base import POLLING, BaseClient, not_ended
from serving.client.connection import RetryPolicy
from serving.client.examples import Classes, Example
from serving.client.model_info import ModelInfo, VersionStatus
from serving.client.steps import Request, Steps, T, run
from serving.client.tracing import traced
from serving.client.transport import ModelRef, Verb
from serving.errors import ServingError
from serving.protocol.tensors import Array


class Client(BaseClient):
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
        connection: certificates, tokens and headers, further tries, and connections: see `ConnectionSettings`.

    Raises:
        TargetError: the target is not an address, or another argument is wrong.
        ConfigError: a file of the connection's settings cannot be used.
    """

    def _connect(self) -> None:
        self._transport = self._wire.connect()

    def _run(self, steps: Steps[T], policy: RetryPolicy | None = None) -> T:
        return run(traced(self._dispatch.steps(steps, policy), self.target), self._send)

    def _send(self, request: Request) -> bytes:
        return self._transport.send(request)

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
        return self._run(self._predict(ModelRef(model, version, label), inputs, named, signature, timeout))

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
        return self._run(self._classify(ModelRef(model, version, label), examples, signature, timeout))

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
        return self._run(self._regress(ModelRef(model, version, label), examples, signature, timeout))

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
        call = self._run(self._prepare(ModelRef(model, version, label), inputs, signature, verb))
        return lambda: self._run(call())

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Return the signatures of a served version: names, dtypes and dims of their tensors. Errors as in `predict`."""
        return self._run(self._metadata(ModelRef(model, version, label), timeout))

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows, in ascending order. Errors as in `predict`."""
        return self._run(self._status(ModelRef(model, version), timeout))

    def wait_until_ready(
        self,
        model: str,
        version: int | None = None,
        timeout: float = 60.0,
        *,
        ended: Callable[[], ServingError | None] = not_ended,
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
        return self._run(self._wait_until_ready(model, version, timeout, ended), POLLING)
