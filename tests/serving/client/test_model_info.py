"""What a server reports about a model, read from its messages."""

from __future__ import annotations

from serving.client.model_info import TensorInfo, VersionStatus, signatures_from_proto, statuses_from_proto
from serving.protocol.messages import serving_message


def test_signatures_have_dtypes_and_dims_without_tensorflows_own() -> None:
    proto = serving_message("SignatureDefMap")()
    definition = proto.signature_def["serving_default"]
    definition.method_name = "tensorflow/serving/predict"
    definition.inputs["x"].dtype = 1
    for size in (-1, 3):
        definition.inputs["x"].tensor_shape.dim.add(size=size)
    definition.inputs["handle"].dtype = 20
    definition.inputs["handle"].tensor_shape.unknown_rank = True
    proto.signature_def["__saved_model_init_op"].SetInParent()
    (signature,) = signatures_from_proto(proto).values()
    assert signature.method == "tensorflow/serving/predict"
    assert signature.inputs == {"handle": TensorInfo("DT_RESOURCE", None), "x": TensorInfo("float32", (None, 3))}
    assert [str(info) for info in signature.inputs.values()] == ["DT_RESOURCE[...]", "float32[?,3]"]


def test_versions_are_in_ascending_order_with_their_errors() -> None:
    proto = serving_message("GetModelStatusResponse")()
    proto.model_version_status.add(version=3, state=30)
    failed = proto.model_version_status.add(version=1, state=50)
    failed.status.error_code, failed.status.error_message = 3, "damaged"
    proto.model_version_status.add(version=2, state=77)
    statuses = statuses_from_proto(proto)
    assert statuses == [
        VersionStatus(1, "END", "INVALID_ARGUMENT", "damaged"), VersionStatus(2, "77"), VersionStatus(3, "AVAILABLE"),
    ]  # fmt: skip
    assert [status.available for status in statuses] == [False, False, True]
    assert [status.failed for status in statuses] == [True, False, False]
    assert str(statuses[0]) == "version 1 is END (INVALID_ARGUMENT: damaged)"
