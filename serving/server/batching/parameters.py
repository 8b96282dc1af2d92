"""BatchingParameters messages as the real server reads them (servables/tensorflow/bundle_factory_util.h).

`serving.config.batching.BatchingParameters` is for writing such a file; the texts here are those that the server fails
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.protocol.messages import serving_message
from serving.protocol.status import invalid_argument
from serving.server.config_files import read_config
from serving.server.options import ServerOptions, cores

PER_MODEL_FILE = "batching_params.pbtxt"
"""In a version's folder, looked at with --enable_per_model_batching_parameters."""


@dataclass(frozen=True)
class QueueOptions:
    """How requests of one kind are batched; the defaults are those of TensorFlow's shared_batch_scheduler.h.

    Attributes:
        input_limit: rows that a request may have.
        execution_limit: rows that a batch may have. Larger requests are split if `splits`; else both limits are equal.
            With 0 every request is refused.
        timeout_seconds: how long the first request of a batch waits for others while a thread is free.
        max_enqueued: batches that wait for a thread; more requests are refused.
        allowed_sizes: rows of a batch are padded up to one of these; empty: none.
        pads_lengths: arrays of different sizes are padded to the largest in each dim; else they fail their batch.
    """

    input_limit: int = 1000
    execution_limit: int = 1000
    splits: bool = False
    timeout_seconds: float = 0.0
    max_enqueued: int = 10
    allowed_sizes: tuple[int, ...] = ()
    pads_lengths: bool = False

    def padded(self, rows: int) -> int:
        """The smallest allowed size that holds `rows`; `rows` itself where there is none."""
        return next((size for size in self.allowed_sizes if size >= rows), rows)


def common_parameters(options: ServerOptions) -> Any:
    """The BatchingParameters message of --batching_parameters_file; one with defaults without that flag.

    Raises:
        StatusError: the file is not there or does not parse.
    """
    if options.batching_parameters_file:
        return read_config(options.batching_parameters_file, "BatchingParameters")
    return serving_message("BatchingParameters")()


def model_parameters(options: ServerOptions, common: Any, folder: str) -> Any | None:
    """The parameters for the version in `folder`; None: its requests are not batched.

    Raises:
        StatusError: the version's own file does not parse.
    """
    if not options.per_model_batching:
        return common
    own = Path(folder) / PER_MODEL_FILE
    return read_config(str(own), "BatchingParameters") if own.is_file() else None


def batch_threads(parameters: Any) -> int:
    """Threads that run batches; by default one a core.

    Raises:
        StatusError: INVALID_ARGUMENT: less than one.
    """
    threads = parameters.num_batch_threads.value if parameters.HasField("num_batch_threads") else cores()
    if threads < 1:
        raise invalid_argument(f"num_batch_threads must be positive; was {threads}")
    return int(threads)


def queue_options(parameters: Any) -> QueueOptions:
    """Read a BatchingParameters message.

    With splitting and neither max_execution_batch_size nor max_batch_size, no batch may have a row: every request is refused,
    as there.

    Raises:
        StatusError: INVALID_ARGUMENT with the text that a version fails to load with.
    """
    default = QueueOptions()
    limit = _value(parameters, "max_batch_size", default.input_limit)
    _check_allowed(parameters.allowed_batch_sizes, limit)
    splits = bool(parameters.enable_large_batch_splitting.value)
    largest = _value(parameters, "max_execution_batch_size", parameters.max_batch_size.value) if splits else limit
    made = QueueOptions(
        input_limit=_size(limit),
        execution_limit=_size(largest),
        splits=splits,
        timeout_seconds=_value(parameters, "batch_timeout_micros", 0) / 1e6,
        # Zero counts as one in a queue that does not split (shared_batch_scheduler.h, AddQueue).
        max_enqueued=_size(_value(parameters, "max_enqueued_batches", default.max_enqueued)) or (0 if splits else 1),
        allowed_sizes=tuple(parameters.allowed_batch_sizes),
        pads_lengths=parameters.pad_variable_length_inputs,
    )
    _check(made)
    return made


def _value(parameters: Any, name: str, default: int) -> int:
    return int(getattr(parameters, name).value) if parameters.HasField(name) else default


def _size(value: int) -> int:
    """As a size_t of C++: a negative number is a limit that nothing reaches."""
    return value % 2**64


def _check(options: QueueOptions) -> None:
    """The checks of shared_batch_scheduler.h, in its order."""
    if options.input_limit < 1:
        raise invalid_argument(f"input_batch_size_limit must be positive; was {options.input_limit}")
    if options.timeout_seconds < 0:
        micros = round(options.timeout_seconds * 1e6)
        raise invalid_argument(f"batch_timeout_micros must be non-negative; was {micros}")
    if options.max_enqueued < 1:
        raise invalid_argument(f"max_enqueued_batches must be positive; was {options.max_enqueued}")
    if options.input_limit < options.execution_limit:
        # What follows the sentence there are splitting (1) and both numbers, without anything between them.
        raise invalid_argument(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            f"max_execution_batch_size.1{options.input_limit}{options.execution_limit}"
        )


def _check_allowed(sizes: Sequence[int], limit: int) -> None:
    """The one rule that a version is loaded by, with splitting too, and before all others: WrapSessionForBatching in
    bundle_factory_util.cc. Those of batching_session.cc are for who makes a batching session in C++."""
    if sizes and sizes[-1] != limit:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; expected {limit}"
        )
