"""Errors of the REST interface that the real server does not have."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array
from serving.server.config.options import ServerOptions

_LONGEST = 4096
"""Most characters of an error's text. The real server sends all of it, even 1 MB of the client's own base64."""


class TooLargeError(StatusError):
    """A request exceeds one of this server's limits; its HTTP status is 413."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, message)

    @property
    def http_status(self) -> int:
        """The HTTP status."""
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value


def shortened(message: str) -> str:
    """Return an error's text, cut off after 4,096 characters."""
    return message if len(message) <= _LONGEST else message[:_LONGEST] + "…"


def check_sizes(tensors: Mapping[str, Array], options: ServerOptions) -> None:
    """Raise if the tensors of a request exceed a limit.

    Args:
        tensors: the arrays by input name.
        options: hold `max_tensor_elements` and `max_decoded_bytes`.

    Raises:
        StatusError: INVALID_ARGUMENT: a tensor has too many elements.
        TooLargeError: the tensors have too many bytes.
    """
    for name, array in tensors.items():
        if array.size > options.max_tensor_elements:
            raise invalid_argument(
                f"Tensor {name} has {array.size} elements; --max_tensor_elements allows {options.max_tensor_elements}."
            )
    size = sum(array.nbytes for array in tensors.values())
    if size > options.max_decoded_bytes:
        raise TooLargeError(
            f"The request's tensors have {size} bytes; --max_decoded_bytes allows {options.max_decoded_bytes}."
        )
