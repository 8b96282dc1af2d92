"""A limit for the large answers that are held in memory until they are written as JSON or sent."""

from __future__ import annotations

import threading

from serving.server.rest_api.errors import LimitError


class Answers:
    """Counts the bytes of large answers. One that would exceed `limit` is dropped: its model has run, so it cannot wait."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._size = 0

    def hold(self, size: int) -> HeldAnswer:
        """Count the bytes of an answer until it is released.

        Raises:
            LimitError: there is no room for it.
        """
        with self._lock:
            if self._size + size > self.limit:
                raise LimitError(
                    f"The answer has {size} bytes and other answers that are not sent yet have {self._size}; "
                    f"--max_decoded_bytes allows {self.limit}."
                )
            self._size += size
        return HeldAnswer(self, size)

    def release(self, size: int) -> None:
        """Forget the bytes of an answer."""
        with self._lock:
            self._size -= size


class HeldAnswer:
    """The bytes of an answer, counted until they are released or this object is no longer used."""

    def __init__(self, answers: Answers, size: int) -> None:
        self._answers = answers
        self._size = size

    def release(self) -> None:
        """Forget the bytes. Further calls do nothing."""
        size, self._size = self._size, 0
        self._answers.release(size)

    def __del__(self) -> None:
        """Forget the bytes of an answer that was dropped, since its client has gone or has got a 504."""
        self.release()
