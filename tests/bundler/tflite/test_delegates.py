"""Which operators GPUs, Core ML and NPUs take, and why the others fall out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from bundler.errors import UsageError
from bundler.tflite.contents import names_of
from bundler.tflite.delegates import chosen, known_delegates, readiness
from bundler.tflite.flatbuffer import packed
from tests.bundler.tflite.single_op import single_op


def why(file: bytes, delegate: str) -> list[str]:
    (row,) = readiness(file, chosen([delegate]))
    assert row.taken + len(row.fallen) == row.nodes == 1
    return [each.why for each in row.fallen]


@pytest.mark.parametrize(
    ("file", "delegate", "reasons"),
    [
        (single_op("ADD", 1, "FLOAT32"), "gpu", []),
        (single_op("ADD", 1, "INT8", scales=1), "gpu", []),
        (single_op("ADD", 1, "INT8", scales=1), "coreml", ["the delegate does not take INT8 here"]),
        (single_op("ADD", 1, "INT64"), "gpu", ["the delegate does not take INT64 here"]),
        (single_op("GATHER", 1, "INT32"), "gpu", []),
        (single_op("GATHER_ND", 1, "FLOAT32"), "gpu", ["the delegate does not have this operator"]),
        (single_op("GATHER_ND", 1, "FLOAT32"), "qualcomm", []),
        (single_op("MUL", 1, "FLOAT32", dims=(1, 2, 2, 2, 2)), "gpu", ["5 axes; the delegate takes 4"]),
        (single_op("MUL", 1, "FLOAT32", dims=(1, 2, 2, 2, 2)), "mediatek", []),
        (single_op("MUL", 1, "FLOAT32", dims=(-1, 2)), "nnapi", ["a size is only known at run time"]),
    ],
)
def test_node_falls_out_for_its_reason(file: bytes, delegate: str, reasons: list[str]) -> None:
    assert why(file, delegate) == reasons


def test_float16_weights_are_not_a_node_for_a_gpu() -> None:
    model = schema.ModelT.InitFromPackedBuf(single_op("DEQUANTIZE", 1, "FLOAT32"), 0)
    buffer, half = schema.BufferT(), model.subgraphs[0].tensors[0]
    buffer.data = np.zeros(8, np.uint8)
    model.buffers.append(buffer)
    half.type, half.buffer = schema.TensorType.FLOAT16, len(model.buffers) - 1
    file = packed(model)
    assert why(file, "coreml") == [] == why(file, "gpu")
    assert why(single_op("DEQUANTIZE", 1, "FLOAT32"), "coreml") == ["the delegate does not have this operator"]


def test_report_names_layers_source_and_date() -> None:
    (row,) = readiness(single_op("GATHER_ND", 1, "FLOAT32"), chosen(["GPU"]))
    assert list(map(str, row.fallen)) == ["1 GATHER_ND: the delegate does not have this operator (in head)"]
    record = row.to_json()
    assert record["source"].startswith("LiteRT v") and record["fallen"][0]["layers"] == ["head"] and record["taken"] == 0


def test_unknown_delegate_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Unknown delegate 'tpu'") as caught:
        chosen(["gpu", "tpu"])
    assert caught.value.fix == "choose from: gpu, coreml, nnapi, qualcomm, mediatek"


def test_lists_have_operators_and_types_of_tflite_with_a_dated_source() -> None:
    ops, types = set(names_of("BuiltinOperator").values()), set(names_of("TensorType").values())
    assert chosen([]) == tuple(known_delegates().values())
    for delegate in known_delegates().values():
        assert len(delegate.ops) > 15 and delegate.ops <= ops and set(delegate.op_types) <= delegate.ops
        assert set(delegate.types or ()) <= types and all(set(row) <= types for row in delegate.op_types.values())
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", delegate.date) and "LiteRT" in delegate.source
