"""Versions of operators lowered to a runtime's, and min_runtime_version."""

from __future__ import annotations

import pytest
from ai_edge_litert import schema_py_generated as schema

from bundler.errors import TfliteError
from bundler.tflite.contents import operators_of
from bundler.tflite.flatbuffer import packed
from bundler.tflite.lowering import fitted, needs_per_tensor, with_minimum
from bundler.tflite.runtimes import parse_target, requirements_of
from serving.protocol.tflite_file import read_metadata
from tests.bundler.tflite.single_op import single_op

OLD = parse_target("tflite-runtime==2.14")


def test_version_is_lowered_where_the_kernel_was_seen_to_compute_the_types_right() -> None:
    file = single_op("EQUAL", 5, "INT16", options="EqualOptions")
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    model.subgraphs[0].tensors[2].type = schema.TensorType.BOOL
    file = packed(model)
    assert requirements_of(file).minimum == {"litert": "2.1.0", "tflite-runtime": None}
    lowered = fitted(file, OLD, "file")
    assert [(each.name, each.version) for each in operators_of(lowered)] == [("EQUAL", 4)]
    assert requirements_of(lowered).minimum == {"litert": "1.0.1", "tflite-runtime": "2.14.0"}
    assert fitted(file, parse_target("litert==2.1"), "file") == file


def test_file_that_cannot_be_lowered_is_refused_with_operator_version_and_layer() -> None:
    file = single_op("FULLY_CONNECTED", 12, "FLOAT32", options="FullyConnectedOptions")
    with pytest.raises(TfliteError) as caught:
        fitted(file, OLD, "dynamic TFLite file", layer_of=lambda _: "classifier")
    assert caught.value.what == (
        "tflite-runtime 2.14.0 cannot run the dynamic TFLite file:\n"
        "  FULLY_CONNECTED version 12 in classifier: it has versions up to 10"
    )
    assert caught.value.fix is not None and "litert==1.0.1" in caught.value.fix and caught.value.code == "TFB4206"


def test_dense_weights_have_one_scale_for_old_runtimes() -> None:
    assert needs_per_tensor(OLD) and not needs_per_tensor(parse_target("litert==1.0"))


@pytest.mark.parametrize(
    ("op", "version", "minimum"), [("ADD", 1, "2.14.0"), ("DILATE", 1, "2.18.0"), ("ADD", 6, "2.23.0"), ("ADD", 99, "1.14.0")]
)
def test_minimum_in_the_metadata_is_a_release_that_has_the_operators(op: str, version: int, minimum: str) -> None:
    entry = read_metadata(with_minimum(single_op(op, version, "FLOAT32")))["min_runtime_version"]
    assert entry == minimum.encode().ljust(16, b"\0")
