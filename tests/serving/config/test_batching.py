"""batching.config: values survive text proto, wrong values are explained."""

from __future__ import annotations

import pytest

from serving.config.batching import BatchingParameters
from serving.errors import ConfigError

SPLITTING = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"


def test_parameters_survive_text_and_absent_differs_from_zero() -> None:
    parameters = BatchingParameters(
        max_batch_size=32,
        batch_timeout_micros=0,
        num_batch_threads=2,
        thread_pool_name="batches",
        allowed_batch_sizes=(8, 32),
        pad_variable_length_inputs=True,
    )
    assert "batch_timeout_micros {\n}" in parameters.to_text()
    assert "max_enqueued_batches" not in parameters.to_text()
    assert BatchingParameters.from_text(parameters.to_text()) == parameters


def test_handwritten_parameters_are_read() -> None:
    text = (
        "max_batch_size { value: 4 }\nbatch_timeout_micros { value: 200000 }\nallowed_batch_sizes: [2, 4]\n"
    )
    assert BatchingParameters.from_text(text) == BatchingParameters(4, 200000, allowed_batch_sizes=(2, 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_batch_size { value: 4 } allowed_batch_sizes: [2, 3]", "must be max_batch_size, 4, got 3"),
        ("allowed_batch_sizes: [2, 4]", "must be max_batch_size, 1000, got 4"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2, 4]", r"ascending order, got \[4, 2, 4\]"),
        ("num_batch_threads { }", "num_batch_threads must be 1 or more, got 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be 0 or more, got -1"),
        ("enable_large_batch_splitting { value: true }", "without max_execution_batch_size"),
        (f"max_batch_size {{ value: 8 }} {SPLITTING} allowed_batch_sizes: 4", "must be max_batch_size, 8, got 4"),
        (f"max_batch_size {{ value: 2 }} {SPLITTING}", "max_execution_batch_size must be at most max_batch_size, 2, got 4"),
        ("max_batch_size: 4", "max_batch_size"),
    ],
)
def test_wrong_parameters_are_explained(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        BatchingParameters.from_text(text, where="batching.config")
    assert caught.value.where == "batching.config"


def test_with_splitting_the_allowed_sizes_end_with_the_largest_request() -> None:
    parameters = BatchingParameters(
        64, allowed_batch_sizes=(8, 16, 64), enable_large_batch_splitting=True, max_execution_batch_size=16
    )
    assert BatchingParameters.from_text(parameters.to_text()) == parameters
