"""Recordings of ModelServer 2.20 that the embedded server answers differently, and why.

The list is strict both ways: recordings that are not listed must be answered alike, and those that are listed must not.
"""

from __future__ import annotations

_WRAPS = "the real server silently wraps an integer that the tensor cannot hold; ours refuses it"
_ANY_OUTPUT = "the error names one of two outputs without a JSON form; the real server picks it by the order of a hash map"
_METRICS = "TensorFlow's C++ counters cannot be read from Python; ours are the request counts and latencies"
_CRASHES = "the real server crashes"
_BLOCKS = "a new model without files blocks the real server's reloads for ever; ours refuses it"
_PAGE = "`/` is the playground; with --enable_playground=false it is the real server's 404"
_STARTS = "the real server starts despite an unknown flag; ours refuses it"
_FOREIGN = "the real server runs a POST of any web page; ours refuses those of others without --rest_api_enable_cors_support"

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
    "cors_off": _FOREIGN,
    "s_unknown_flag": _STARTS,
}  # fmt: skip
"""Id of a recording -> reason."""

SHARE = 0.05
"""Largest share of the recordings that may be listed."""

_TESTS = (
    "test_rest_request_is_answered_as_recorded[",
    "test_grpc_request_is_answered_as_recorded[",
    "test_server_starts_as_recorded[",
)


def summary(passed: list[str]) -> str:
    """Return a line with the number of replayed recordings and of known differences among them; empty if there are none.

    Args:
        passed: node ids of the tests that passed.
    """
    replayed = [node.rpartition("[")[2].rstrip("]") for node in passed if any(test in node for test in _TESTS)]
    if not replayed:
        return ""
    different = sum(1 for row in replayed if row in KNOWN)
    return f"recordings of ModelServer 2.20: {len(replayed)} replayed, {different} of them known differences"
