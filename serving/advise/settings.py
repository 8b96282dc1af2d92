"""Batching and thread settings of a server, and those that a search tries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from serving.config.batching import BatchingParameters
from serving.server.config.options import cores

SMALLEST = 8
"""Smallest `max_batch_size` to try. A version whose warm-up has a request with more rows cannot be loaded."""

WAIT_MICROS = 2000
"""The `batch_timeout_micros` to try besides 0."""

THREAD_FLAGS = (
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "grpc_max_threads", "num_tflite_pools",
)  # fmt: skip
"""Flags of tensorflow_model_server that a setting may have, besides those of batching."""


@dataclass(frozen=True)
class Setting:
    """Batching and thread settings of a server.

    Attributes:
        intra: threads within an operator; 0 lets TensorFlow choose.
        inter: operators that run at once; 0 lets TensorFlow choose.
        grpc_threads: requests that the server handles at once, which also limits a batch; 0 for four per core.
        batching: parameters of batching; None to run each request by itself.
        pools: interpreters of a model.tflite, each with one thread; 0 for one per core.
    """

    intra: int = 0
    inter: int = 0
    grpc_threads: int = 0
    batching: BatchingParameters | None = None
    pools: int = 0

    @property
    def thread_flags(self) -> dict[str, int]:
        """Number by name of each flag in `THREAD_FLAGS` that the setting has."""
        numbers = zip(THREAD_FLAGS, (self.intra, self.inter, self.grpc_threads, self.pools), strict=True)
        return {name: number for name, number in numbers if number}

    def flags(self, batching_file: str) -> tuple[str, ...]:
        """Return the flags of tensorflow_model_server; `batching_file` is the path of the batching parameters."""
        flags = [f"--{name}={number}" for name, number in self.thread_flags.items()]
        if self.batching:
            flags += ["--enable_batching=true", f"--batching_parameters_file={batching_file}"]
        return tuple(flags)

    def __str__(self) -> str:
        numbers = (("intra", self.intra), ("inter", self.inter), ("interpreters", self.pools))
        parts = [f"{name} {number}" for name, number in numbers if number]
        if self.grpc_threads:
            parts.append(f"grpc threads {self.grpc_threads}")
        if self.batching:
            batching = self.batching
            padded = ", padded" if batching.pad_variable_length_inputs else ""
            parts.append(
                f"batches of {batching.max_batch_size}, {batching.num_batch_threads} at once, "
                f"waiting {batching.batch_timeout_micros} µs{padded}"
            )
        return ", ".join(parts) or "no flags"


@dataclass(frozen=True)
class Demand:
    """The load that settings have to fit.

    Attributes:
        clients: number of concurrent clients.
        rows: rows of the largest request.
        at_once: rows of all clients together.
        pads: whether batches are padded (`pad_variable_length_inputs`).
    """

    clients: int
    rows: int = 1
    at_once: int = 0
    pads: bool = False

    def batching(self, size: int, threads: int) -> BatchingParameters:
        """Return the parameters for batches of `size` rows, of which `threads` run at once."""
        # Room for twice the rows of all clients, so that no request is refused under the measured load.
        enqueued = max(10, 2 * math.ceil(self.at_once / size))
        return BatchingParameters(
            max_batch_size=size, batch_timeout_micros=0, max_enqueued_batches=enqueued, num_batch_threads=threads,
            pad_variable_length_inputs=self.pads,
        )  # fmt: skip

    def size(self, rows: int) -> int:
        """Return the smallest power of two that holds `rows` and at least one request."""
        return int(2 ** math.ceil(math.log2(max(rows, self.rows, SMALLEST))))


def first_setting(demand: Demand, *, tflite: bool) -> Setting:
    """Return the setting that usually serves best: each request on one core if they are many, on all cores if there is one."""
    if tflite:
        return Setting(pools=cores())
    return Setting(intra=1) if demand.clients > 1 else Setting()


def thread_settings(demand: Demand, *, tflite: bool) -> list[Setting]:
    """Return settings without batching that share the cores among requests in different ways."""
    all_cores = cores()
    if tflite:
        return [Setting(pools=1)] if all_cores > 1 else []
    if demand.clients == 1:
        return [Setting(), Setting(1), Setting(inter=1)] if all_cores > 1 else []
    settings = [Setting(grpc_threads=demand.clients), Setting(1, all_cores)]
    return settings if all_cores > 1 else settings[:1]


def layout_settings(demand: Demand, *, tflite: bool) -> list[Setting]:
    """Return settings with batching: one batch at a time on all cores, and one batch per core at the same time.

    Each batch is large enough for its share of the clients. A request waits for its batch in a thread of the server, so
    there are as many threads as clients. An interpreter of TFLite has one thread, so that only batches per core use all cores.
    """
    all_cores = cores()
    per_core = demand.batching(demand.size(math.ceil(demand.at_once / all_cores)), all_cores)
    if tflite:
        return [Setting(grpc_threads=demand.clients, batching=per_core, pools=all_cores)]
    one_batch = Setting(grpc_threads=demand.clients, batching=demand.batching(demand.size(demand.at_once), 1))
    return [one_batch] if all_cores == 1 else [one_batch, Setting(1, 1, demand.clients, per_core)]


def size_settings(best: Setting, demand: Demand) -> list[Setting]:
    """Return the best layout with smaller batches, and with a larger one if all clients do not fill it twice.

    Args:
        best: the best setting of `layout_settings`.
        demand: the load; a batch must be able to hold its largest request.
    """
    assert best.batching and best.batching.max_batch_size and best.batching.num_batch_threads
    size, threads = best.batching.max_batch_size, best.batching.num_batch_threads
    sizes = [other for other in (size // 4, size // 2, size * 2) if max(demand.rows, SMALLEST) <= other < 2 * demand.at_once]
    return [replace(best, batching=demand.batching(other, threads)) for other in sizes]


def waiting(best: Setting) -> Setting:
    """Return a setting with batching whose batches wait for more requests."""
    assert best.batching
    return replace(best, batching=replace(best.batching, batch_timeout_micros=WAIT_MICROS))
