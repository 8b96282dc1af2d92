"""Read BatchingParameters messages as the real server does (servables/tensorflow/bundle_factory_util.h), with its errors.

`serving.config.batching.BatchingParameters` writes such a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.protocol.messages import serving_message
from serving.protocol.status import invalid_argument
from serving.server.config.files import read_config
from serving.server.config.options import ServerOptions, cores

PER_MODEL_FILE = "batching_params.pbtxt"
"""File in a version's folder that --enable_per_model_batching_parameters reads."""


@dataclass(frozen=True)
class QueueOptions:
    """How requests of one kind are batched; the defaults are those of TensorFlow's shared_batch_scheduler.h.

    Attributes:
        input_limit: most rows of a request.
        execution_limit: most rows of a batch; equal to input_limit unless `splits`. With 0, every request is refused.
        splits: whether requests larger than a batch are split.
        timeout_seconds: how long the first request of a batch waits for others while a thread is free.
        max_enqueued: most batches that wait for a thread; further requests are refused.
        allowed_sizes: numbers of rows that batches are padded to; empty turns padding off.
        pads_lengths: whether arrays of different shapes are padded to the largest size of each dim, or fail their batch.
    """

    input_limit: int = 1000
    execution_limit: int = 1000
    splits: bool = False
    timeout_seconds: float = 0.0
    max_enqueued: int = 10
    allowed_sizes: tuple[int, ...] = ()
    pads_lengths: bool = False

    def padded(self, rows: int) -> int:
        """Return the smallest allowed size of at least `rows`; `rows` itself if there is none."""
        return next((size for size in self.allowed_sizes if size >= rows), rows)


def common_parameters(options: ServerOptions) -> Any:
    """Return the BatchingParameters message in --batching_parameters_file; an empty message without that flag.

    Raises:
        StatusError: the file does not exist or does not parse.
    """
    if options.batching_parameters_file:
        return read_config(options.batching_parameters_file, "BatchingParameters")
    return serving_message("BatchingParameters")()


def model_parameters(options: ServerOptions, common: Any, folder: str) -> Any | None:
    """Return the BatchingParameters message of a version, or None if its requests are not batched.

    Args:
        options: whether versions have parameters of their own.
        common: the message of `common_parameters`.
        folder: the version's folder.

    Raises:
        StatusError: the version's own file does not parse.
    """
    if not options.per_model_batching:
        return common
    file = Path(folder) / PER_MODEL_FILE
    return read_config(str(file), "BatchingParameters") if file.is_file() else None


def batch_threads(parameters: Any) -> int:
    """Return the number of threads that run batches; by default one per core.

    Raises:
        StatusError: INVALID_ARGUMENT: the number is less than one.
    """
    threads = parameters.num_batch_threads.value if parameters.HasField("num_batch_threads") else cores()
    if threads < 1:
        raise invalid_argument(f"num_batch_threads must be positive; was {threads}")
    return int(threads)


def queue_options(parameters: Any) -> QueueOptions:
    """Read a BatchingParameters message.

    With splitting and neither max_execution_batch_size nor max_batch_size, the limit of a batch is 0 rows and every request
    is refused, as in the real server.

    Raises:
        StatusError: INVALID_ARGUMENT with the real server's text; the version does not load.
    """
    default = QueueOptions()
    limit = _value(parameters, "max_batch_size", default.input_limit)
    _check_allowed(parameters.allowed_batch_sizes, limit)
    splits = bool(parameters.enable_large_batch_splitting.value)
    largest = _value(parameters, "max_execution_batch_size", parameters.max_batch_size.value) if splits else limit
    options = QueueOptions(
        input_limit=_size(limit),
        execution_limit=_size(largest),
        splits=splits,
        timeout_seconds=_value(parameters, "batch_timeout_micros", 0) / 1e6,
        # In a queue that does not split, zero counts as one (shared_batch_scheduler.h, AddQueue).
        max_enqueued=_size(_value(parameters, "max_enqueued_batches", default.max_enqueued)) or (0 if splits else 1),
        allowed_sizes=tuple(parameters.allowed_batch_sizes),
        pads_lengths=parameters.pad_variable_length_inputs,
    )
    _check(options)
    return options


def _value(parameters: Any, name: str, default: int) -> int:
    return int(getattr(parameters, name).value) if parameters.HasField(name) else default


def _size(value: int) -> int:
    """Convert to a size_t of C++: a negative number becomes a limit that is never reached."""
    return value % 2**64


def _check(options: QueueOptions) -> None:
    """Raise in the cases of shared_batch_scheduler.h, in its order."""
    if options.input_limit < 1:
        raise invalid_argument(f"input_batch_size_limit must be positive; was {options.input_limit}")
    if options.timeout_seconds < 0:
        micros = round(options.timeout_seconds * 1e6)
        raise invalid_argument(f"batch_timeout_micros must be non-negative; was {micros}")
    if options.max_enqueued < 1:
        raise invalid_argument(f"max_enqueued_batches must be positive; was {options.max_enqueued}")
    if options.input_limit < options.execution_limit:
        # The real server appends splitting (1) and both numbers to the sentence, without separators.
        raise invalid_argument(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            f"max_execution_batch_size.1{options.input_limit}{options.execution_limit}"
        )


def _check_allowed(sizes: Sequence[int], limit: int) -> None:
    """Raise if the last allowed size is not `limit`, with splitting too.

    It is the first check of a version and the only one of the sizes (WrapSessionForBatching in bundle_factory_util.cc); the
    rules in batching_session.cc are for callers in C++.
    """
    if sizes and sizes[-1] != limit:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; expected {limit}"
        )
