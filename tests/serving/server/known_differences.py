"""Where the embedded server answers otherwise than the recorded ModelServer 2.20, and why.

Strict both ways: a recording that is not listed must be met, one that is listed must not (or its line goes).
"""

from __future__ import annotations

_WRAPS = "the real server wraps an integer that the tensor cannot hold in silence; ours refuses it"
_ANY_OUTPUT = "of two outputs without a JSON form the error names one, in the real server that of a hash map"
_METRICS = "TensorFlow's C++ counters are out of Python's reach; ours are the request counts and latencies"
_CRASHES = "the real server crashes"
_BLOCKS = "a new model without anything on disk blocks the real server's reloads for ever; ours refuses it"
_PAGE = "`/` is the playground; with --enable_playground=false it is the 404 that the real server has"
_STARTS = "the real server starts all the same; ours takes an unknown flag for the mistake that it is"

KNOWN: dict[str, str] = {
    **dict.fromkeys(
        (
            "types_i8_over_row", "types_i8_over_col", "types_i8_under_row", "types_i8_under_col", "types_u8_over_row",
            "types_u8_over_col", "types_u8_neg_row", "types_i16_over_row", "types_i16_over_col",
        ),
        _WRAPS,
    ),
    "halfout_row": _ANY_OUTPUT,
    "metrics": _METRICS,
    "metrics_post": _METRICS,
    "g_b_zero_after_expired_SERVER_ABORTED_exit134": _CRASHES,
    "k_missing_path": _BLOCKS,
    "k_after_missing": _BLOCKS,
    "path_00_GET_/": _PAGE,
    "s_unknown_flag": _STARTS,
}  # fmt: skip
"""Id of a recording -> reason."""

SHARE = 0.05
"""Most of all recordings that may be answered otherwise."""

_TESTS = (
    "test_rest_request_is_answered_as_recorded[",
    "test_grpc_request_is_answered_as_recorded[",
    "test_server_starts_as_recorded[",
)


def summary(passed: list[str]) -> str:
    """A line for the end of a run: recordings replayed and how many of them are known differences; empty for none.

    Args:
        passed: node ids of the tests that passed.
    """
    replayed = [node.rpartition("[")[2].rstrip("]") for node in passed if any(test in node for test in _TESTS)]
    if not replayed:
        return ""
    different = sum(1 for row in replayed if row in KNOWN)
    return f"recordings of ModelServer 2.20: {len(replayed)} replayed, {different} of them known differences"
