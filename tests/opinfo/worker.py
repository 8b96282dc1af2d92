"""Runs the cases of the operators named on stdin, and prints the outcomes as JSON, one per line.

A line of input is {"op": …, "dtypes": {dtype: [samples, dynamic samples]}, "skip": [cases], "alone": bool}. {"begin": [cases]}
comes before cases that run together, {"case": case, "kind": …, "detail": …} after each case, and {"done": op} after all. After a
crash, the last `begin` names the cases in which it was; the operator is then asked again with `alone`, which runs each by itself.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from typing import Any


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    channel = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if not os.environ.get("OPINFO_STDERR"):
        os.dup2(null, 2)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    _remember_tables()
    _answer(channel, {"ready": os.getpid()})
    for line in sys.stdin:
        request = json.loads(line)
        if "names" in request:
            _answer(channel, {"done": _names(request["names"])})
        else:
            _operator(channel, request)


def _names(dtypes: list[str]) -> list[str]:
    """Return the operators that have samples of one of the dtypes."""
    from tests.opinfo import samples

    return sorted({name for dtype in dtypes for name in samples.names(dtype)})


def _answer(channel: Any, value: dict[str, Any]) -> None:
    print(json.dumps(value), file=channel, flush=True)


def _operator(channel: Any, request: dict[str, Any]) -> None:
    from tests.opinfo import check, samples

    op = request["op"]
    cases: dict[samples.Case, samples.Sample] = {}
    for dtype, (most, most_dynamic) in request["dtypes"].items():
        if samples.DTYPES[dtype] not in samples.operators()[op].dtypes:
            continue
        _answer(channel, {"begin": [f"{op} {dtype} samples"]})
        try:
            cases.update(samples.cases(op, dtype, samples.samples(op, dtype, most), most_dynamic))
        except Exception as exc:  # noqa: BLE001 (some samples need what this machine lacks)
            detail = f"torch makes no samples: {' '.join(str(exc).split())[:200]}"
            _answer(channel, {"case": f"{op} {dtype} samples", "kind": check.NONE, "detail": detail})
    cases = {case: sample for case, sample in cases.items() if str(case) not in request["skip"]}
    for batch in [[case] for case in cases] if request["alone"] else [list(cases)]:
        _answer(channel, {"begin": [str(case) for case in batch]})
        for case, outcome in check.outcomes({case: cases[case] for case in batch}):
            _answer(channel, {"case": str(case), "kind": outcome.kind, "detail": outcome.detail})
    _answer(channel, {"done": op})


def _remember_tables() -> None:
    """Make torch build its tables of operators once, and copy them for each export: they take nine tenths of a small export."""
    from torch._export import utils
    from torch.onnx._internal.exporter import _decomp
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    build = functools.cache(ONNXRegistry.from_torchlib)
    tables: dict[frozenset[Any], Any] = {}

    def from_torchlib(**options: Any) -> Any:
        table = build(**options)
        copy = ONNXRegistry()
        copy._opset_version = table._opset_version
        copy.functions = {target: list(functions) for target, functions in table.functions.items()}
        return copy

    def decompositions(operators: set[Any]) -> Any:
        key = frozenset(operators)
        if key not in tables:
            tables[key] = make(operators)
        return dict(tables[key])

    make = _decomp.create_onnx_friendly_decomposition_table
    _decomp.create_onnx_friendly_decomposition_table = decompositions
    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign, assignment]
    utils._collect_all_valid_cia_ops_for_namespace = functools.cache(utils._collect_all_valid_cia_ops_for_namespace)


if __name__ == "__main__":
    main()
