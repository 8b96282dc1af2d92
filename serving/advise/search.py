"""Search for the batching and thread settings that serve a model best on this machine, by measuring embedded servers.

One server runs without flags. Each setting gets its own server beside it, and the two are loaded in turns: a disturbance of
the machine affects both, and a setting is judged by the ratio. The best setting is measured again, for longer and also with
a single client, because the best of many measurements is partly luck.
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
from serving.client.prepared_request import PreparedRequest
from serving.config.batching import BatchingParameters
from serving.launch.server_process import server_process
from serving.server.config.options import cores

BETTER = 1.05
"""The smallest gain that counts: a difference below 5 % is within the noise between turns."""

SMALLEST = 8
"""Smallest `max_batch_size` to try. A version whose warm-up has a request with more rows cannot be loaded."""

WAIT_MICROS = 2000
"""The `batch_timeout_micros` to try besides 0."""


THREAD_FLAGS = ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "grpc_max_threads")
"""Flags of tensorflow_model_server that a setting may have, besides those of batching."""


@dataclass(frozen=True)
class Setting:
    """Batching and thread settings of a server.

    Attributes:
        intra: threads within an operator; 0 lets TensorFlow choose.
        inter: operators that run at once; 0 lets TensorFlow choose.
        grpc_threads: requests that the server handles at once, which also limits a batch; 0 for four per core.
        batching: parameters of batching; None to run each request by itself.
    """

    intra: int = 0
    inter: int = 0
    grpc_threads: int = 0
    batching: BatchingParameters | None = None

    @property
    def thread_flags(self) -> dict[str, int]:
        """Number by name of each flag in `THREAD_FLAGS` that the setting has."""
        numbers = zip(THREAD_FLAGS, (self.intra, self.inter, self.grpc_threads), strict=True)
        return {name: number for name, number in numbers if number}

    def flags(self, batching_file: str) -> tuple[str, ...]:
        """Return the flags of tensorflow_model_server; `batching_file` is the path of the batching parameters."""
        flags = [f"--{name}={number}" for name, number in self.thread_flags.items()]
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
    """Figures of a setting and of the server without flags, which were loaded in turns.

    Attributes:
        setting: the setting.
        figures: figures of the server with the setting.
        baseline: figures of the server without flags.
    """

    setting: Setting
    figures: LoadFigures
    baseline: LoadFigures

    @property
    def gain(self) -> float:
        """Requests per second as a multiple of those of the server without flags; 0 if a request failed."""
        if self.figures.failed or not self.baseline.per_second:
            return 0.0
        return self.figures.per_second / self.baseline.per_second

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data for JSON."""
        return {
            "setting": {**asdict(self.setting), "text": str(self.setting)},
            "gain": round(self.gain, 3),
            "with": self.figures.to_json(),
            "without": self.baseline.to_json(),
        }


@dataclass(frozen=True)
class Advice:
    """Result of a search.

    Attributes:
        request: the request that was sent.
        trials: all settings that were tried, in order.
        confirmed: the best setting, measured again: with all clients, and with a single one.
        load: load average of the machine over the minute before the search.
    """

    request: PreparedRequest
    trials: tuple[Trial, ...]
    confirmed: tuple[Trial, Trial]
    load: float = 0.0

    @property
    def best(self) -> Setting | None:
        """The setting to use; None if no setting is better than a server without flags."""
        all_clients, single_client = self.confirmed
        return all_clients.setting if all_clients.gain >= BETTER and not single_client.figures.failed else None

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
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
    flags: Sequence[str] = (),
) -> Advice:
    """Try settings for a model of a bundle.

    Args:
        source: the bundle's folder.
        request: the request that each client sends.
        clients: number of concurrent clients; each sends its next request when the last one is answered.
        seconds: how long each server is loaded for a setting.
        progress: called with each trial when it is done.
        flags: flags that all servers get, whatever their setting.

    Raises:
        NotReadyError: a server does not start.
        ServingError: a server does not answer the first request, or its answer is wrong; see `serving.bench.load.measure`.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, server_process(source, flags) as baseline:
        rig = _Rig(source, baseline.grpc_target, request, Path(folder), flags)

        def run(settings: Iterable[Setting]) -> list[Trial]:
            results = []
            for setting in settings:
                results.append(rig.measure(setting, [Load(clients, seconds)])[0])
                if progress:
                    progress(results[-1])
            return results

        trials = run(thread_settings(clients))
        trials += run(layout_settings(clients, request.rows))
        batched = _best([trial for trial in trials if trial.setting.batching])
        trials += run(size_settings(batched.setting, clients * request.rows, request.rows))
        batched = _best([trial for trial in trials if trial.setting.batching])
        trials += run([_waiting(batched.setting)])
        confirmed = rig.measure(_best(trials).setting, [Load(clients, 2 * seconds), Load(1, seconds)])
    return Advice(request, tuple(trials), (confirmed[0], confirmed[1]), load)


class _Rig:
    """Compares one server with flags at a time with a running server without flags.

    Args:
        source: the bundle's folder.
        baseline: `host:port` of the server without flags.
        request: the request that each client sends.
        folder: where the batching parameters are written.
        flags: flags that every server gets.
    """

    def __init__(self, source: Path, baseline: str, request: PreparedRequest, folder: Path, flags: Sequence[str]) -> None:
        self._source, self._baseline, self._request, self._folder = source, baseline, request, folder
        self._flags = tuple(flags)

    def measure(self, setting: Setting, loads: Sequence[Load]) -> list[Trial]:
        """Return one trial per load."""
        with self._serve(setting) as target:
            figures = measure([self._baseline, target], self._request, loads)
        pairs = zip(figures[::2], figures[1::2], strict=True)
        return [Trial(setting, figures=with_flags, baseline=without) for without, with_flags in pairs]

    @contextmanager
    def _serve(self, setting: Setting) -> Iterator[str]:
        file = self._folder / "batching.config"
        if setting.batching:
            file.write_text(setting.batching.to_text(), "utf-8")
        with server_process(self._source, (*self._flags, *setting.flags(str(file)))) as endpoints:
            yield endpoints.grpc_target


def thread_settings(clients: int) -> list[Setting]:
    """Return settings without batching that share the cores among requests in different ways."""
    all_cores = cores()
    settings = [Setting(grpc_threads=clients), Setting(1, all_cores)]
    return settings if all_cores > 1 else settings[:1]


def layout_settings(clients: int, rows: int) -> list[Setting]:
    """Return two settings with batching: one batch at a time on all cores, and one batch per core at the same time.

    Each batch is large enough for its share of the clients. A request waits for its batch in a thread of the server, so
    there are as many threads as clients.

    Args:
        clients: number of concurrent clients.
        rows: rows per request.
    """
    all_cores, at_once = cores(), clients * rows
    one_batch = Setting(grpc_threads=clients, batching=_batching(_size(at_once, rows), at_once, 1))
    if all_cores == 1:
        return [one_batch]
    per_core = _batching(_size(math.ceil(at_once / all_cores), rows), at_once, all_cores)
    return [one_batch, Setting(1, 1, clients, per_core)]


def size_settings(best: Setting, at_once: int, rows: int) -> list[Setting]:
    """Return the best layout with smaller batches, and with a larger one if all clients do not fill it twice.

    Args:
        best: the best setting of `layout_settings`.
        at_once: rows of all clients together.
        rows: rows per request, which a batch must be able to hold.
    """
    assert best.batching and best.batching.max_batch_size and best.batching.num_batch_threads
    size, threads = best.batching.max_batch_size, best.batching.num_batch_threads
    sizes = [other for other in (size // 4, size // 2, size * 2) if max(rows, SMALLEST) <= other < 2 * at_once]
    return [replace(best, batching=_batching(other, at_once, threads)) for other in sizes]


def _waiting(best: Setting) -> Setting:
    assert best.batching
    return replace(best, batching=replace(best.batching, batch_timeout_micros=WAIT_MICROS))


def _size(at_once: int, rows: int) -> int:
    """Return the smallest power of two that holds `at_once` rows and at least one request."""
    return int(2 ** math.ceil(math.log2(max(at_once, rows, SMALLEST))))


def _batching(size: int, at_once: int, threads: int) -> BatchingParameters:
    # Room for twice the rows of all clients, so that no request is refused under the measured load.
    enqueued = max(10, 2 * math.ceil(at_once / size))
    return BatchingParameters(
        max_batch_size=size, batch_timeout_micros=0, max_enqueued_batches=enqueued, num_batch_threads=threads
    )


def _best(trials: Sequence[Trial]) -> Trial:
    return max(trials, key=lambda trial: trial.gain)
