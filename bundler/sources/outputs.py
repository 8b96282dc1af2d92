"""Names the tensors that a model returns.

1. A single tensor is `output`.
2. In a dict, dataclass, named tuple or ModelOutput of transformers, names are keys or fields: `logits`.
3. In a tuple or list, names are `output_0`, `output_1` …
4. In a nested container, the name starts with that of the parent: `embedding.image`, `states_0`.
5. None is omitted. A repeated name gets the suffix `_2`, `_3` … A character that TensorFlow Serving does not accept becomes `_`.
   An output with the name of an input becomes `<name>_output`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from bundler.errors import ExportError
from bundler.sources.binding import fields_of, stable_name


def name_outputs(value: Any) -> dict[str, Tensor]:
    """Return the tensors of an answer by name, in their order.

    Raises:
        ExportError: the answer contains something other than tensors, or no tensor at all.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in _walk(value, ""):
        unique, count = name, 1
        while unique in named:
            count += 1
            unique = f"{name}_{count}"
        named[unique] = tensor
    if not named:
        raise ExportError("The model returns no tensor.", fix="return at least one tensor from forward", code="TFB2303")
    return named


def _walk(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path or "output", value
        return
    if value is None:
        return
    fields = fields_of(value)
    if fields is not None:
        for key, child in fields.items():
            yield from _walk(child, f"{path}.{_part(key)}" if path else stable_name(_key(key)))
    elif isinstance(value, (tuple, list)):
        for index, child in enumerate(value):
            yield from _walk(child, f"{path or 'output'}_{index}")
    else:
        raise ExportError(
            f"The model returns a {type(value).__name__}{f' at {path}' if path else ''}, which is not a tensor.",
            fix="return only tensors, in a tuple, dict, dataclass or named tuple",
            code="TFB2303",
        )


def _key(key: object) -> object:
    return f"output_{key}" if isinstance(key, int) else key


def _part(key: object) -> str:
    return stable_name(key) if isinstance(key, str) else str(key)
