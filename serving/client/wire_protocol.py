"""The requests of a client, over gRPC or REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from serving.client.examples import Classes
from serving.client.model_info import ModelInfo, VersionStatus
from serving.client.steps import Steps
from serving.client.transport import ModelRef, Verb
from serving.protocol.tensors import Array


class WireProtocol(Protocol):
    """The requests of a client as steps, over gRPC or REST. The steps raise errors of `serving.errors` only."""

    def predict(self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float) -> Steps[dict[str, Array]]:
        """Run a signature; the result is the outputs by name."""

    def prepare(self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float) -> Callable[[], Steps[object]]:
        """Encode a predict request once; return a function of steps that send it and do not decode the answer."""

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], Steps[object]]:
        """Encode a classify or regress request of `tensorflow.Example` messages, as `prepare` does."""

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[Classes]:
        """Return the (label, score) pairs of each `tensorflow.Example` message."""

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[list[float]]:
        """Return one number per `tensorflow.Example` message."""

    def metadata(self, ref: ModelRef, timeout: float) -> Steps[ModelInfo]:
        """Return the signatures of a version."""

    def status(self, ref: ModelRef, timeout: float) -> Steps[list[VersionStatus]]:
        """Return the states of the model's versions, in ascending order."""
