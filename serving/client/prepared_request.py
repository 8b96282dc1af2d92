"""A request that is known beforehand: to be sent once and decoded, or encoded once and sent repeatedly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.client.client import Client
from serving.client.examples import EXAMPLES, classes_as_outputs
from serving.client.transport import Verb
from serving.protocol.tensors import Array


@dataclass(frozen=True)
class PreparedRequest:
    """A request and, where it is known, its expected answer.

    Attributes:
        model: name of the model.
        inputs: arrays by input name; Classify and Regress have one input, `inputs`, of serialized tf.Examples.
        signature: name of the signature.
        version: version of the model; None lets the server choose.
        outputs: expected arrays by output name, empty if unknown. Regress answers `outputs`, Classify answers `classes` and
            `scores`.
        tolerance: largest allowed relative error of the answer, see `serving.golden.compare`.
        verb: the RPC.
        label: label of a version, instead of `version`.
    """

    model: str
    inputs: Mapping[str, Array]
    signature: str = "serving_default"
    version: int | None = None
    outputs: Mapping[str, Array] = field(default_factory=dict)
    tolerance: float = 1e-4
    verb: Verb = "Predict"
    label: str | None = None

    @property
    def rows(self) -> int:
        """Number of examples in the request: the first dim of its first input."""
        first = next(iter(self.inputs.values()), None)
        return int(first.shape[0]) if first is not None and first.ndim else 1

    def send(self, client: Client) -> dict[str, Array]:
        """Send the request and return the answer's arrays by output name. Errors as in `Client.predict`."""
        to: dict[str, Any] = {"version": self.version, "label": self.label, "signature": self.signature}
        if self.verb == "Predict":
            return client.predict(self.model, self.inputs, **to)
        examples = [bytes(example) for example in self.inputs[EXAMPLES].tolist()]
        if self.verb == "Classify":
            return classes_as_outputs(client.classify(self.model, examples, **to))
        return {"outputs": np.array(client.regress(self.model, examples, **to), np.float32)}

    def prepare(self, client: Client) -> Callable[[], object]:
        """Encode the request once and return a function that sends it, see `Client.prepare`."""
        to: dict[str, Any] = {"version": self.version, "label": self.label, "signature": self.signature}
        return client.prepare(self.model, self.inputs, **to, verb=self.verb)
