"""The requests of a comparison, one at a time from logs of any size, and counts of what is left out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.client.prepared_request import PreparedRequest
from serving.client.request_log import NOT_SENT, log_files, read_log
from serving.errors import GoldenError
from serving.texts import plural

MOST_DAMAGED = 20
"""Damaged places that are named; more are counted."""


@dataclass(frozen=True)
class Logged:
    """A request and where it stands.

    Attributes:
        index: number of the request among those that are compared, from 0.
        file: the log.
        record: number of the record in the file, from 1.
        request: the request.
        output_filter: the outputs that it asked for; empty for all.
    """

    index: int
    file: Path
    record: int
    request: PreparedRequest
    output_filter: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"record {self.record} of {self.file.name}"


@dataclass
class LeftOut:
    """What is not compared.

    Attributes:
        kinds: kind of record -> number of records that no call of the client can send.
        models: other models -> number of their requests.
        signatures: other signatures -> number of their requests.
        damaged: where a log cannot be read, with the reason; at most `MOST_DAMAGED`.
        damaged_count: number of damaged places.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    signatures: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    damaged_count: int = 0

    def sentences(self) -> list[str]:
        """Return one sentence for each reason."""
        kinds = [
            f"{plural(count, 'record')} of {kind} skipped: {NOT_SENT.get(kind, 'this kind is unknown')}."
            for kind, count in sorted(self.kinds.items())
        ]
        others = [
            f"{plural(count, 'request')} of the {what} {name!r} skipped."
            for what, counts in (("model", self.models), ("signature", self.signatures))
            for name, count in sorted(counts.items())
        ]
        return kinds + others

    def note_damage(self, what: str) -> None:
        """Count a place that cannot be read; `what` is a sentence."""
        self.damaged_count += 1
        if len(self.damaged) < MOST_DAMAGED:
            self.damaged.append(what)


class Source:
    """The requests for one model. `take` may be called by several threads, and reads a record each time.

    A damaged record is counted and the next one is read. Where the rest of a file cannot be read, the next file is. Files are
    read as far as they go now: a server that still writes to them may log the very requests that are sent.

    Args:
        paths: logs, or folders of logs.
        model: the model; None for that of the first request.
        signature: the signature; None for all.
        limit: most requests; None for all.

    Raises:
        GoldenError: a path does not exist, or a folder has no file.

    Attributes:
        model: the model, once the first request is known.
        left_out: what is not compared, so far.
        ended: whether the last request has been taken.
    """

    def __init__(self, paths: Sequence[Path], model: str | None, signature: str | None, limit: int | None) -> None:
        files = [(file, _size(file)) for path in paths for file in log_files(path)]
        self.model = model
        self.left_out = LeftOut()
        self.ended = False
        self._signature = signature
        self._limit = limit
        self._lock = threading.Lock()
        self._requests = self._read(files)
        self._next: Logged | None = None

    def first(self) -> Logged:
        """Return the first request, which `take` returns again.

        Raises:
            GoldenError: there is none; the message says what the logs hold instead.
        """
        with self._lock:
            self._next = self._next or next(self._requests, None)
            if self._next is None:
                raise self._nothing()
            return self._next

    def take(self) -> Logged | None:
        """Return the next request; None if there are no more."""
        with self._lock:
            logged, self._next = self._next or next(self._requests, None), None
            self.ended = self.ended or logged is None
            return logged

    def _read(self, files: Sequence[tuple[Path, int]]) -> Iterator[Logged]:
        index = 0
        for file, size in files:
            try:
                for record in read_log(file, answers=False, end=size):
                    if record.error:
                        self.left_out.note_damage(record.error.what)
                    elif record.request is None:
                        self.left_out.kinds[record.kind] += 1
                    elif self._wants(record.request):
                        if index == self._limit:
                            return
                        yield Logged(index, file, record.number, record.request, record.output_filter)
                        index += 1
            except GoldenError as exc:
                self.left_out.note_damage(f"{exc.what} The rest of the file was not compared.")

    def _wants(self, request: PreparedRequest) -> bool:
        self.model = self.model or request.model
        if request.model != self.model:
            self.left_out.models[request.model] += 1
            return False
        if self._signature not in (None, request.signature):
            self.left_out.signatures[request.signature] += 1
            return False
        return True

    def _nothing(self) -> GoldenError:
        wanted = f" of the model {self.model!r}" if self.model else ""
        wanted += f" and the signature {self._signature!r}" if self._signature else ""
        found = " ".join([*self.left_out.sentences(), *self.left_out.damaged])
        what = f"The logs have no predict, classify or regress request{wanted}."
        fix = "log some requests with `tfbundle serve DIR --log_requests=FOLDER`, or choose another --model or --signature"
        return GoldenError(f"{what} {found}".rstrip(), fix=fix, code="TFB9351")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (ValueError, OSError) as exc:  # a path with NUL; no such file; a folder that may not be searched
        fix = "give a file of requests, or the folder that --log_requests wrote to"
        raise GoldenError(f"The log {str(file)!r} cannot be read: {exc}.", fix=fix, code="TFB7202") from exc
