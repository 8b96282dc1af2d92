"""BatchingParameters as the real server reads them: defaults, limits and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serving.config.text_proto import parse_text
from serving.protocol.status import Code, StatusError
from serving.server.batching.parameters import (
    QueueOptions,
    batch_threads,
    common_parameters,
    model_parameters,
    queue_options,
)
from serving.server.config.options import ServerOptions, cores

OPTIONS = ServerOptions(enable_batching=True)
SPLITTING = "enable_large_batch_splitting { value: true }"


def read(text: str) -> QueueOptions:
    return queue_options(parse_text("BatchingParameters", text))


def test_defaults_are_the_real_servers() -> None:
    common = common_parameters(OPTIONS)
    assert queue_options(common) == QueueOptions(1000, 1000, False, 0.0, 10, (), False)
    assert batch_threads(common) == cores()


def test_every_parameter_is_read() -> None:
    text = (
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2500 } max_enqueued_batches { value: 3 } "
        "allowed_batch_sizes: 2 allowed_batch_sizes: 8 pad_variable_length_inputs: true"
    )
    options = read(text)
    assert options == QueueOptions(8, 8, False, 0.0025, 3, (2, 8), True)
    assert [options.padded(rows) for rows in (1, 2, 3, 8)] == [2, 2, 8, 8]
    splitting = read(
        "max_batch_size { value: 64 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 64"
    )
    assert (splitting.input_limit, splitting.execution_limit, splitting.splits) == (64, 8, True)


@pytest.mark.parametrize("sizes", [(2, 8), (4, 2, 8)])
def test_allowed_sizes_only_have_to_end_with_the_largest_request(sizes: tuple[int, ...]) -> None:
    """servables/tensorflow/bundle_factory_util.cc, WrapSessionForBatching."""
    allowed = " ".join(f"allowed_batch_sizes: {size}" for size in sizes)
    options = read(f"max_batch_size {{ value: 8 }} {SPLITTING} max_execution_batch_size {{ value: 4 }} {allowed}")
    assert (options.allowed_sizes, options.execution_limit) == (sizes, 4)
    assert options.padded(2) == sizes[0]


def test_negative_limit_means_unlimited() -> None:
    """It is a size_t in shared_batch_scheduler.h, whose checks compare it with 0."""
    options = read(
        "max_batch_size { value: -1 } max_enqueued_batches { value: -1 } allowed_batch_sizes: 4 allowed_batch_sizes: -1"
    )
    assert min(options.input_limit, options.execution_limit, options.max_enqueued) == 2**64 - 1
    assert [options.padded(rows) for rows in (3, 5)] == [4, 5]


def test_splitting_without_a_size_limits_batches_to_no_rows() -> None:
    options = read(SPLITTING)
    assert (options.input_limit, options.execution_limit) == (1000, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 3",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 3; expected 4",
        ),
        (
            f"max_batch_size {{ value: 8 }} {SPLITTING} max_execution_batch_size {{ value: 4 }} "
            "allowed_batch_sizes: 2 allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            "max_batch_size { value: 0 } allowed_batch_sizes: 2",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 2; expected 0",
        ),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        (
            "max_enqueued_batches { value: 0 } enable_large_batch_splitting { value: true }",
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            f"max_batch_size {{ value: 8 }} {SPLITTING} max_execution_batch_size {{ value: 16 }}",
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size.1816",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(text: str, message: str) -> None:
    with pytest.raises(StatusError) as refused:
        read(text)
    assert (refused.value.code, refused.value.message) == (Code.INVALID_ARGUMENT, message)


def test_zero_batch_threads_are_refused() -> None:
    with pytest.raises(StatusError, match="num_batch_threads must be positive; was 0"):
        batch_threads(parse_text("BatchingParameters", "num_batch_threads { value: 0 }"))


def test_version_has_its_own_parameters_or_is_not_batched(tmp_path: Path) -> None:
    common = common_parameters(OPTIONS)
    assert model_parameters(OPTIONS, common, str(tmp_path)) is common
    per_model = replace(OPTIONS, per_model_batching=True)
    assert model_parameters(per_model, common, str(tmp_path)) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 5 }")
    assert queue_options(model_parameters(per_model, common, str(tmp_path))).input_limit == 5
    (tmp_path / "batching_params.pbtxt").write_text("max_batch { }")
    with pytest.raises(StatusError, match="Invalid protobuf file"):
        model_parameters(per_model, common, str(tmp_path))
