"""Digests that are computed in a thread of their own, while the next data are read or written."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_LAG = 8
"""Pieces of data that a digest may be behind."""


class Digest:
    """A sha256 in a thread of its own; hashlib releases Python's lock for large updates."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, data: bytes | memoryview) -> None:
        """Add data, which must not change afterwards."""
        self._pending.append(self._pool.submit(self._sha.update, data))
        if len(self._pending) > _LAG:
            self._pending.pop(0).result()

    def digest(self) -> str:
        """Return the digest of all data, as OCI writes it."""
        for future in self._pending:
            future.result()
        self._pending.clear()
        return f"sha256:{self._sha.hexdigest()}"
