"""Refusals that both kinds of servable have in common."""

from __future__ import annotations

from serving.protocol.status import StatusError, invalid_argument

_DTYPE_TEXTS = {"float32": "float", "float64": "double", "float16": "half"}


def wrong_dtype(position: int, *, wanted: str, given: str) -> StatusError:
    """An input of another dtype: the text of FunctionCallFrame::SetArgs, which the real server's session fails with.

    Args:
        position: of the tensor among those fed, sorted by name.
        wanted, given: dtypes as NumPy calls them; `string`.
    """
    texts = (_DTYPE_TEXTS.get(name, name) for name in (wanted, given))
    return invalid_argument("Expects arg[{}] to be {} but {} is provided".format(position, *texts))
