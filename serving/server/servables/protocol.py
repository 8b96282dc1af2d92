"""The interface of a loaded model version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.protocol.tensors import Array


class Runnable(Protocol):
    """Signatures, and a graph that computes their tensors."""

    @property
    def signatures(self) -> dict[str, Any]:
        """Signature name -> `tensorflow.SignatureDef` message of `serving.protocol.messages`."""
        ...

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the graph.

        Args:
            feeds: tensor name (`serving_default_x:0`) -> array.
            fetches: names of the tensors to compute; a name may occur twice.

        Returns:
            One array per name in `fetches`.

        Raises:
            StatusError: with the code and text that the real server answers.
        """
        ...


class Servable(Runnable, Protocol):
    """A loaded version: a SavedModel, a model.tflite, or either behind a batching queue."""

    @property
    def path(self) -> str:
        """The version's folder."""
        ...

    def close(self) -> None:
        """Free the version. No request may be running."""
        ...
