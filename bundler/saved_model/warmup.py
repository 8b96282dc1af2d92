"""Warm-up records: requests that TensorFlow Serving runs before a version becomes AVAILABLE.

The server prescribes the file's path, name and format (servables/tensorflow/saved_model_warmup_util.cc): TFRecords, at most
1000, each with a PredictionLog. If a record fails, the version does not load.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from serving.client.examples import CLASSIFY, EXAMPLES, REGRESS, to_message
from serving.golden.data import Golden, GoldenCase
from serving.protocol.messages import serving_message
from serving.protocol.tensors import to_proto

MAX_RECORDS = 1000
"""kMaxNumRecords of the server, which refuses a file with more."""

_LOGS = {CLASSIFY: "classify_log", REGRESS: "regress_log"}
"""Field of a PredictionLog by method name (apis/prediction_log.proto)."""


def write_warmup(golden: Golden, model: str, path: Path, methods: Mapping[str, str] | None = None) -> int:
    """Write the golden inputs of every signature as warm-up requests.

    Args:
        golden: the golden data; of more than 1000 cases, the first ones of each signature are written.
        model: the name that the model is served under.
        path: the new file, see `BundleLayout.warmup`; its folder is created.
        methods: method names by signature, for Classify and Regress.

    Returns:
        The number of records.
    """
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with tf.io.TFRecordWriter(str(path)) as file:
        for case in islice(_in_turns(golden), MAX_RECORDS):
            file.write(_record(golden, case, model, methods or {}))
            written += 1
    return written


def _in_turns(golden: Golden) -> list[GoldenCase]:
    """Return the first case of each signature, then the second ones, and so on, so that a limit omits no signature."""
    turn: dict[str, int] = {}
    turns = []
    for case in golden.cases:
        turn[case.signature] = turn.get(case.signature, 0) + 1
        turns.append(turn[case.signature])
    return [case for _, case in sorted(zip(turns, golden.cases, strict=True), key=lambda pair: pair[0])]


def _record(golden: Golden, case: GoldenCase, model: str, methods: Mapping[str, str]) -> bytes:
    log = serving_message("PredictionLog")()
    kind = methods.get(case.signature)
    if kind in _LOGS:
        request = getattr(log, _LOGS[kind]).request
        request.input.example_list.examples.extend(map(to_message, case.inputs[EXAMPLES].tolist()))
        request.model_spec.name = model
        request.model_spec.signature_name = case.signature
        return bytes(log.SerializeToString(deterministic=True))
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = case.signature
    for name, array in golden.inputs(case).items():
        request.inputs[name].CopyFrom(to_proto(array))
    # Map fields have no order of their own; deterministic, so that the same build writes the same bytes.
    data: bytes = log.SerializeToString(deterministic=True)
    return data
