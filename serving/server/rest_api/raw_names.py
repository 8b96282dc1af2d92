"""Names in a path that are not UTF-8.

The real server takes any bytes as the name of a model or a label, finds nothing under it, and quotes the bytes in its error.
Messages in Python cannot hold such a name, so its error is made here; each byte that is not UTF-8 is a surrogate escape in the
text, which the reply writes as the byte.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from serving.protocol.status import StatusError, invalid_argument, not_found
from serving.texts import is_utf8


class RawNames(NamedTuple):
    """The names in a path, percent-decoded.

    Attributes:
        model: the model's name.
        version: the version, or None.
        label: the label, or None.
    """

    model: str
    version: int | None
    label: str | None

    @classmethod
    def of(cls, model: str | None, version: int | None, label: str | None) -> RawNames:
        """Decode the parts of a path."""
        return cls(_unquote(model or ""), version, None if label is None else _unquote(label))

    def check(self, *, status: bool = False) -> None:
        """Raise the real server's error if a name is not UTF-8, so that nothing can have it.

        Args:
            status: whether the model's status is requested, which ignores the label.

        Raises:
            StatusError: NOT_FOUND for a model, INVALID_ARGUMENT for a label.
        """
        if status and not is_utf8(self.model):
            which = "any versions" if self.version is None else f"version {self.version}"
            raise not_found(f"Could not find {which} of model {self.model}")
        if not status and not is_utf8(self.model + (self.label or "")):
            raise self._unknown()

    def _unknown(self) -> StatusError:
        if self.label is not None:
            return invalid_argument(f"Unrecognized servable version label: {self.label}")
        wanted = f"Latest({self.model})" if self.version is None else f"Specific({self.model}, {self.version})"
        return not_found(f"Servable not found for request: {wanted}")


def _unquote(text: str) -> str:
    return unquote(text, errors="surrogateescape")
