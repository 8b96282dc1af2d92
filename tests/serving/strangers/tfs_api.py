"""A client as TensorFlow Serving's users write it, with tensorflow-serving-api's stubs. Usage: tfs_api.py HOST:PORT

Each call is written as in tensorflow/serving's own examples (tensorflow_serving/example/*_client.py). Prints `ok` at the end.
"""

import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

channel = grpc.insecure_channel(sys.argv[1])
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)


def predict(x):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "rows"
    request.model_spec.signature_name = "single"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    return stub.Predict(request, 60.0)


answer = predict(np.ones((2, 4), np.float32))
(output,) = answer.outputs.values()
assert np.array_equal(tf.make_ndarray(output), np.full((2, 4), 2, np.float32)), answer
assert (answer.model_spec.name, answer.model_spec.version.value) == ("rows", 2)

try:
    predict(np.ones((2, 4), np.int32))
except grpc.RpcError as refused:
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Expects arg[0] to be float but int32 is provided" in refused.details(), refused.details()
else:
    raise AssertionError("int32 was accepted for float32")

feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 2.0]))
example = tf.train.Example(features=tf.train.Features(feature={"x": feature}))

classify = classification_pb2.ClassificationRequest()
classify.model_spec.name = "clsreg"
classify.model_spec.signature_name = "serving_default"
classify.input.example_list.examples.append(example)
classes = stub.Classify(classify, 60.0).result.classifications[0].classes
assert [each.label for each in classes] == ["a", "b", "c"], classes
assert abs(sum(each.score for each in classes) - 1) < 1e-5

regress = regression_pb2.RegressionRequest()
regress.model_spec.name = "clsreg"
regress.model_spec.signature_name = "regress"
regress.input.example_list_with_context.context.CopyFrom(example)
regress.input.example_list_with_context.examples.append(tf.train.Example())
(regression,) = stub.Regress(regress, 60.0).result.regressions
assert np.isfinite(regression.value)

several = inference_pb2.MultiInferenceRequest()
for name in ("serving_default", "regress"):
    task = several.tasks.add()
    task.model_spec.name = "clsreg"
    task.model_spec.signature_name = name
    task.method_name = f"tensorflow/serving/{'regress' if name == 'regress' else 'classify'}"
several.input.example_list.examples.append(example)
results = stub.MultiInference(several, 60.0).results
assert results[0].classification_result.classifications[0].classes == classes
assert results[1].regression_result.regressions[0].value == regression.value

describe = get_model_metadata_pb2.GetModelMetadataRequest()
describe.model_spec.name = "rows"
describe.metadata_field.append("signature_def")
signatures = get_model_metadata_pb2.SignatureDefMap()
stub.GetModelMetadata(describe, 60.0).metadata["signature_def"].Unpack(signatures)
assert signatures.signature_def["single"].inputs["x"].dtype == tf.float32.as_datatype_enum

status = get_model_status_pb2.GetModelStatusRequest()
status.model_spec.name = "rows"
states = models.GetModelStatus(status, 60.0).model_version_status
assert all(s.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE for s in states), states
print("ok")
