"""The table of unsafe operators covers all that TensorFlow registers."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from serving.protocol.messages import message
from serving.protocol.unsafe_ops import UnsafeUse, grouped, is_reviewed, shown, why_unsafe

STRING = 7


def attribute(**fields: Any) -> Any:
    return message("tensorflow.AttrValue")(**fields)


def test_every_registered_operator_has_been_judged() -> None:
    """A new operator of TensorFlow must be judged and, with `python -m serving.protocol.extract`, listed.

    A process of its own tells, as LiteRT adds operators to the registry of the process that imports it.
    """
    program = "from serving.protocol.extract import operators; print(*operators())"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) > 1000
    assert [name for name in listed if not is_reviewed(name)] == []


def test_no_operator_with_a_string_that_sounds_like_a_place_is_taken_for_harmless() -> None:
    """Go through the registry by the names of string inputs and string attributes; only these compute nothing but tensors."""
    harmless = {"RegexFullMatch", "RegexReplace", "StaticRegexFullMatch", "StaticRegexReplace"}
    harmless |= {"SetStatsAggregatorDataset", "ExperimentalSetStatsAggregatorDataset"}
    place = re.compile("file|path|url|address|dir$|prefix|pattern|target|host|descriptor")
    bad = {name: attribute(s=b"x") for name in ("vocab_file", "descriptor_source")}
    bad["debug_urls"] = attribute(list={"s": [b"x"]})
    found = set()
    for op in registered():
        names = [argument.name for argument in op.input_arg if argument.type == STRING]
        names += [attr.name for attr in op.attr if attr.type in ("string", "list(string)")]
        if any(map(place.search, names)) and why_unsafe(op.name, bad) is None:
            found.add(op.name)
    assert found == harmless


def registered() -> list[Any]:
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session as session

    return list(OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList())).op)


@pytest.mark.parametrize(
    "op", ["MatMul", "While", "StatefulPartitionedCall", "VarHandleOp", "LookupTableFindV2", "PrintV2", "_FusedMatMul"]
)
def test_operators_that_compute_are_safe(op: str) -> None:
    assert why_unsafe(op, {}) is None


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("ReadFile", "reads files"),
        ("WriteFile", "writes files"),
        ("EagerPyFunc", "calls a Python function"),
        ("RpcCall", "uses the network"),
        ("DataServiceDatasetV4", "uses the network"),
        ("CollectiveReduceV3", "exchanges data"),
        ("TPUExecute", "TPU"),
        ("XlaCustomCallV2", "machine code"),
        ("DatasetFromGraph", "cannot be checked"),
        ("Abort", "ends the process"),
        ("_Send", "internal"),
        ("SentencepieceOp", "is not an operator of TensorFlow"),
        ("", "is not an operator of TensorFlow"),
    ],
)
def test_operators_that_do_more_have_a_reason(op: str, reason: str) -> None:
    assert reason in str(why_unsafe(op, {}))


@pytest.mark.parametrize(
    ("op", "name", "safe", "unsafe"),
    [
        ("PrintV2", "output_stream", "stderr", "file:///tmp/x"),
        ("PrintV2", "output_stream", "log(info)", "custom"),
        ("DecodeProtoV2", "descriptor_source", "local://", "/etc/passwd"),
        ("EncodeProto", "descriptor_source", "bytes://\n\x00", "descriptors.pb"),
        ("FixedUnigramCandidateSampler", "vocab_file", "", "/etc/passwd"),
    ],
)
def test_an_attribute_can_make_an_operator_unsafe(op: str, name: str, safe: str, unsafe: str) -> None:
    assert why_unsafe(op, {}) is None
    assert why_unsafe(op, {name: attribute(s=safe.encode())}) is None
    assert why_unsafe(op, {name: attribute(s=unsafe.encode())}) is not None
    assert why_unsafe(op, {name: attribute(placeholder="parameter")}) is not None


def test_lists_of_debugger_addresses_are_unsafe_unless_empty() -> None:
    assert why_unsafe("DebugIdentityV2", {"debug_urls": attribute(list={"s": []})}) is None
    assert why_unsafe("DebugIdentityV2", {"debug_urls": attribute(list={"s": [b"file:///tmp/x"]})}) is not None


def test_uses_are_grouped_and_shown() -> None:
    uses = [UnsafeUse("ReadFile", "reads files", place) for place in ("node a", "node b", "node c")]
    assert list(map(str, grouped(uses))) == ["ReadFile reads files (node a and 2 more)"]
    assert shown("a\x1b[31m\n") == r"a\x1b[31m\n"
    assert len(shown("x" * 1000)) == 101
