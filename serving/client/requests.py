"""A request that is known beforehand: sent once and decoded, or again and again, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.client.client import Client
from serving.client.examples import EXAMPLES, classes_as_outputs
from serving.client.transport import Verb
from serving.protocol.tensors import Array


@dataclass(frozen=True)
class PreparedRequest:
    """What is sent.

    Attributes:
        inputs: arrays by name; of Classify and Regress one, `inputs`, of serialized tf.Examples.
        outputs: the answer wanted, by output name; empty: none is known. Regress answers `outputs`, Classify `classes` and
            `scores`.
        tolerance: largest relative error of it, see `serving.golden.compare`.
        version: None: the one that the server takes.
        verb: the RPC.
    """

    model: str
    inputs: Mapping[str, Array]
    signature: str = "serving_default"
    version: int | None = None
    outputs: Mapping[str, Array] = field(default_factory=dict)
    tolerance: float = 1e-4
    verb: Verb = "Predict"

    @property
    def rows(self) -> int:
        """Examples in a request: the size of the first axis of the first input."""
        first = next(iter(self.inputs.values()))
        return int(first.shape[0]) if first.ndim else 1

    def ask(self, client: Client) -> dict[str, Array]:
        """Send it, and the outputs of the answer. Errors as in `Client.predict`."""
        if self.verb == "Predict":
            return client.predict(self.model, self.inputs, version=self.version, signature=self.signature)
        examples = [bytes(example) for example in self.inputs[EXAMPLES].tolist()]
        if self.verb == "Classify":
            rows = client.classify(self.model, examples, version=self.version, signature=self.signature)
            return classes_as_outputs(rows)
        values = client.regress(self.model, examples, version=self.version, signature=self.signature)
        return {"outputs": np.array(values, np.float32)}

    def prepare(self, client: Client) -> Callable[[], object]:
        """Sends it whenever it is called, see `Client.prepare`."""
        return client.prepare(
            self.model, self.inputs, version=self.version, signature=self.signature, verb=self.verb
        )
