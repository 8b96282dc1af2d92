"""Which batching and which threads serve a model best on this machine? Asked of embedded servers, not of rules of thumb.

One server runs as it does without flags. Each setting gets a server of its own beside it, and the two are loaded in turns:
what disturbs the machine disturbs both, and a setting is judged by the ratio. The best one is measured again, longer and
with a lone client too: the best of many is in part luck.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serving.bench.load import Load, LoadFigures, measure
from serving.client.requests import PreparedRequest
from serving.config.model_server import BatchingParameters
from serving.launch.server_process import server_process
from serving.server.config.options import cores

BETTER = 1.05
"""A gain that counts: less than a twentieth is within what turns differ by."""

SMALLEST = 8
"""Of the largest batches tried. A version whose warm-up has a request with more rows does not load."""

WAIT_MICROS = 2000
"""batch_timeout_micros that is tried besides 0."""


@dataclass(frozen=True)
class Setting:
    """Flags of a server.

    Attributes:
        intra, inter: threads within an operator, and operators at once; 0: TensorFlow chooses.
        grpc_threads: requests that the server has in hand at once; 0: four a core. No batch is larger.
        batching: None: each request runs by itself.
    """

    intra: int = 0
    inter: int = 0
    grpc_threads: int = 0
    batching: BatchingParameters | None = None

    def flags(self, batching_file: str) -> tuple[str, ...]:
        """For tensorflow_model_server, with the parameters in `batching_file`."""
        numbers = {
            "tensorflow_intra_op_parallelism": self.intra,
            "tensorflow_inter_op_parallelism": self.inter,
            "grpc_max_threads": self.grpc_threads,
        }
        flags = [f"--{name}={number}" for name, number in numbers.items() if number]
        if self.batching:
            flags += ["--enable_batching=true", f"--batching_parameters_file={batching_file}"]
        return tuple(flags)

    def __str__(self) -> str:
        parts = [f"{name} {number}" for name, number in (("intra", self.intra), ("inter", self.inter)) if number]
        if self.grpc_threads:
            parts.append(f"grpc threads {self.grpc_threads}")
        if self.batching:
            batching = self.batching
            parts.append(
                f"batches of {batching.max_batch_size}, {batching.num_batch_threads} at once, "
                f"waiting {batching.batch_timeout_micros} µs"
            )
        return ", ".join(parts) or "no flags"


@dataclass(frozen=True)
class Trial:
    """A setting and the server without flags, loaded in turns.

    Attributes:
        own, plain: figures of the two.
    """

    setting: Setting
    own: LoadFigures
    plain: LoadFigures

    @property
    def gain(self) -> float:
        """Requests a second, over those of the server without flags; 0 if a request failed."""
        if self.own.failed or not self.plain.per_second:
            return 0.0
        return self.own.per_second / self.plain.per_second

    def to_json(self) -> dict[str, Any]:
        return {
            "setting": {**asdict(self.setting), "text": str(self.setting)},
            "gain": round(self.gain, 3),
            "with": self.own.to_json(),
            "without": self.plain.to_json(),
        }


@dataclass(frozen=True)
class Advice:
    """What came out.

    Attributes:
        trials: all settings tried, in order.
        confirmed: the best one, measured again: with the clients asked for, and with one.
        load: of the machine when it began, as `uptime` has it.
    """

    request: PreparedRequest
    trials: tuple[Trial, ...]
    confirmed: tuple[Trial, Trial]
    load: float = 0.0

    @property
    def best(self) -> Setting | None:
        """The setting to use; None: none is better than no flags."""
        loaded = self.confirmed[0]
        return loaded.setting if loaded.gain >= BETTER and not self.confirmed[1].own.failed else None

    def to_json(self) -> dict[str, Any]:
        return {
            "better": self.best is not None,
            "load": round(self.load, 2),
            "trials": [trial.to_json() for trial in self.trials],
            "confirmed": [trial.to_json() for trial in self.confirmed],
        }


def advise(
    source: Path,
    request: PreparedRequest,
    clients: int,
    *,
    seconds: float = 3.0,
    progress: Callable[[Trial], None] | None = None,
) -> Advice:
    """Try settings for a model of a bundle.

    Args:
        source: the bundle's folder.
        request: what each client sends.
        clients: at once, each with its next request when the last one is answered.
        seconds: how long each server is loaded for a setting.
        progress: called with each trial as it is there.

    Raises:
        NotReadyError: a server does not start.
        ServingError: it does not answer the first request, or wrongly; see `serving.bench.load.measure`.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, server_process(source) as plain:
        rig = _Rig(source, plain.grpc, request, Path(folder))

        def tried(settings: Iterable[Setting]) -> list[Trial]:
            made = []
            for setting in settings:
                made.append(rig.trial(setting, [Load(clients, seconds)])[0])
                if progress:
                    progress(made[-1])
            return made

        trials = tried(thread_settings(clients))
        trials += tried(layout_settings(clients, request.rows))
        batched = _best([trial for trial in trials if trial.setting.batching])
        trials += tried(size_settings(batched.setting, clients * request.rows, request.rows))
        batched = _best([trial for trial in trials if trial.setting.batching])
        trials += tried([_waiting(batched.setting)])
        loaded, alone = rig.trial(_best(trials).setting, [Load(clients, 2 * seconds), Load(1, seconds)])
    return Advice(request, tuple(trials), (loaded, alone), load)


class _Rig:
    """The server without flags, and one at a time of those with."""

    def __init__(self, source: Path, plain: str, request: PreparedRequest, folder: Path) -> None:
        self._source, self._plain, self._request, self._folder = source, plain, request, folder

    def trial(self, setting: Setting, loads: Sequence[Load]) -> list[Trial]:
        with self._served(setting) as own:
            figures = measure([self._plain, own], self._request, loads)
        pairs = zip(figures[::2], figures[1::2], strict=True)
        return [Trial(setting, own=mine, plain=plain) for plain, mine in pairs]

    @contextmanager
    def _served(self, setting: Setting) -> Iterator[str]:
        file = self._folder / "batching.config"
        if setting.batching:
            file.write_text(setting.batching.to_text(), "utf-8")
        with server_process(self._source, setting.flags(str(file))) as started:
            yield started.grpc


def thread_settings(clients: int) -> list[Setting]:
    """Ways to share the cores among requests, without batching."""
    all_cores = cores()
    settings = [Setting(grpc_threads=clients), Setting(1, all_cores)]
    return settings if all_cores > 1 else settings[:1]


def layout_settings(clients: int, rows: int) -> list[Setting]:
    """One batch at a time on all cores, and a batch for each core at once, each large enough for its share of the clients.

    A request waits for its batch in a thread of the server: there are as many as clients.
    """
    all_cores, at_once = cores(), clients * rows
    one = Setting(grpc_threads=clients, batching=_batching(_size(at_once, rows), at_once, 1))
    if all_cores == 1:
        return [one]
    each = _batching(_size(math.ceil(at_once / all_cores), rows), at_once, all_cores)
    return [one, Setting(1, 1, clients, each)]


def size_settings(best: Setting, at_once: int, rows: int) -> list[Setting]:
    """The best layout with smaller batches, and a larger one that all clients fit in.

    Args:
        at_once: rows of all clients together; `rows`: of a request, which has to fit.
    """
    assert best.batching and best.batching.max_batch_size and best.batching.num_batch_threads
    size, threads = best.batching.max_batch_size, best.batching.num_batch_threads
    sizes = [other for other in (size // 4, size // 2, size * 2) if max(rows, SMALLEST) <= other < 2 * at_once]
    return [replace(best, batching=_batching(other, at_once, threads)) for other in sizes]


def _waiting(best: Setting) -> Setting:
    assert best.batching
    return replace(best, batching=replace(best.batching, batch_timeout_micros=WAIT_MICROS))


def _size(at_once: int, rows: int) -> int:
    """The power of two that holds so many rows, and at least one request."""
    return int(2 ** math.ceil(math.log2(max(at_once, rows, SMALLEST))))


def _batching(size: int, at_once: int, threads: int) -> BatchingParameters:
    # Room for all that the clients have under way, and once more: no request is refused under the load measured.
    enqueued = max(10, 2 * math.ceil(at_once / size))
    return BatchingParameters(
        max_batch_size=size, batch_timeout_micros=0, max_enqueued_batches=enqueued, num_batch_threads=threads
    )


def _best(trials: Sequence[Trial]) -> Trial:
    return max(trials, key=lambda trial: trial.gain)
