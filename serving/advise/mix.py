"""The requests of a load: one that is sent again and again, or several of different sizes that are sent in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.advise.settings import Demand
from serving.client.prepared_request import PreparedRequest
from serving.texts import plural

_NAMED = 4
"""Request sizes that a description lists; of more it says the range."""


@dataclass(frozen=True)
class RequestMix:
    """The requests that each client sends, one after the other."""

    requests: tuple[PreparedRequest, ...]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.requests[0].model

    @property
    def rows(self) -> int:
        """Rows of the largest request."""
        return max(request.rows for request in self.requests)

    @property
    def mean_rows(self) -> float:
        """Mean number of rows per request."""
        return sum(request.rows for request in self.requests) / len(self.requests)

    @property
    def varying(self) -> tuple[str, ...]:
        """The inputs whose dims after the first differ between requests of one signature, which a batch cannot join unpadded."""
        shapes: dict[tuple[str, str], set[tuple[int, ...]]] = {}
        for request in self.requests:
            for name, array in request.inputs.items():
                shapes.setdefault((request.signature, name), set()).add(tuple(array.shape[1:]))
        return tuple(sorted({name for (_, name), known in shapes.items() if len(known) > 1}))

    @property
    def joinable(self) -> bool:
        """Whether the server can batch the requests at all: each input needs an axis of rows."""
        return all(array.ndim for request in self.requests for array in request.inputs.values())

    def demand(self, clients: int, *, pads: bool) -> Demand:
        """Return what so many clients ask for; `pads` says whether the answers to padded inputs are right."""
        return Demand(clients, self.rows, math.ceil(clients * self.mean_rows), pads and bool(self.varying))

    def unchecked(self) -> list[PreparedRequest]:
        """Return the requests without expected answers."""
        return [replace(request, outputs={}) for request in self.requests]

    def to_json(self) -> dict[str, Any]:
        """Return the number of requests, their signatures and their rows."""
        return {
            "requests": len(self.requests),
            "signatures": sorted({request.signature for request in self.requests}),
            "rows": _count([request.rows for request in self.requests]),
            "varying": list(self.varying),
        }

    def __str__(self) -> str:
        signatures = ", ".join(sorted({request.signature for request in self.requests}))
        lengths = f", {' and '.join(self.varying)} of different lengths" if self.varying else ""
        return f"{signatures}, {self._rows_text()} per request{lengths}"

    def _rows_text(self) -> str:
        sizes = sorted({request.rows for request in self.requests})
        if len(sizes) == 1:
            return plural(sizes[0], "row")
        if len(sizes) > _NAMED:
            return f"{sizes[0]} to {sizes[-1]} rows"
        return f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]} rows"


def _count(values: Sequence[int]) -> dict[str, int]:
    return {str(value): values.count(value) for value in sorted(set(values))}
