"""The two versions that are compared: by number or by label, as a server knows them."""

from __future__ import annotations

from dataclasses import dataclass

from serving.client.client import Client
from serving.client.model_info import ModelInfo, SignatureInfo, TensorInfo
from serving.errors import NotReadyError, RequestError


@dataclass(frozen=True)
class Side:
    """A version of the model, named by its number or by a label.

    Attributes:
        version: number of the version; None if a label names it.
        label: the label; None if a number names the version.
    """

    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        return f"version {self.version}" if self.label is None else self.label

    def resolve(self, client: Client, model: str) -> ModelInfo:
        """Return the metadata of the served version, with its number.

        Raises:
            NotReadyError: the server does not serve this version, or does not know the label.
            ServingError: the server does not know the model or cannot be reached, as in `Client.metadata`.
        """
        try:
            info = client.metadata(model, version=self.version, label=self.label)
        except RequestError as exc:
            states = client.status(model)  # raises if there is no such model
            if exc.status not in ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAVAILABLE"):
                raise
            served = "; ".join(map(str, states)) or "none"
            fix = (
                f"let it serve the version: tfbundle promote DIR --label canary --version {self.version} --server HOST:PORT"
                if self.label is None
                else f"assign the label: tfbundle promote DIR --label {self.label} --version N --server HOST:PORT"
            )
            what = f"The server does not serve {self._named} of {model!r} ({exc.what.rstrip('.')}). It has: {served}."
            raise NotReadyError(what, where=str(client.target), fix=fix, code="TFB9352") from exc
        return info

    @property
    def _named(self) -> str:
        return f"version {self.version}" if self.label is None else f"a version labelled {self.label!r}"


def signature_changes(first: ModelInfo, second: ModelInfo) -> list[str]:
    """Return how the signatures of the second version differ from those of the first one, one sentence each."""
    changes = []
    for name in sorted({*first.signatures, *second.signatures}):
        before, after = first.signatures.get(name), second.signatures.get(name)
        if before is None or after is None:
            version = second.version if before is None else first.version
            changes.append(f"Only version {version} has the signature {name!r}.")
            continue
        changes += [
            f"Signature {name!r}, {side} {tensor!r}: {_text(old)} in version {first.version}, "
            f"{_text(new)} in version {second.version}."
            for side, tensor, old, new in _pairs(before, after)
            if old != new
        ]
    return changes


def _text(tensor: TensorInfo | None) -> str:
    return "absent" if tensor is None else str(tensor)


def _pairs(before: SignatureInfo, after: SignatureInfo) -> list[tuple[str, str, TensorInfo | None, TensorInfo | None]]:
    """Return side, name, and both infos of every tensor that one of the signatures has."""
    sides = (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs))
    return [
        (side, name, old.get(name), new.get(name)) for side, old, new in sides for name in sorted({*old, *new})
    ]
