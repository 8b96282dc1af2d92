"""The error for an input of the wrong dtype, which both kinds of servable raise."""

from __future__ import annotations

from serving.protocol.status import StatusError, invalid_argument

_DTYPE_TEXTS = {"float32": "float", "float64": "double", "float16": "half"}


def wrong_dtype(position: int, *, expected: str, actual: str) -> StatusError:
    """Return the INVALID_ARGUMENT error for an input of the wrong dtype, with the text of FunctionCallFrame::SetArgs.

    Args:
        position: index of the tensor among the fed tensors, sorted by name.
        expected: dtype of the signature, under NumPy's name or `string`.
        actual: dtype of the request.
    """
    texts = (_DTYPE_TEXTS.get(name, name) for name in (expected, actual))
    return invalid_argument("Expects arg[{}] to be {} but {} is provided".format(position, *texts))
