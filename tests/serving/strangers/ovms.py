"""OpenVINO's light client, as its README uses it, over gRPC and HTTP. Usage: ovms.py HOST:GRPC HOST:REST

The client always sends a version. Its default, 0, means the newest one to OpenVINO's server but version 0 to TensorFlow
Serving (recorded: `Specific(rows, 0)`), so this script gives the version. Prints `ok` at the end.
"""

import sys

import numpy as np
import ovmsclient
from ovmsclient.tfs_compat.base.errors import ModelNotFoundError

x = np.ones((2, 4), np.float32)
for make, address in ((ovmsclient.make_grpc_client, sys.argv[1]), (ovmsclient.make_http_client, sys.argv[2])):
    client = make(address)
    status = client.get_model_status(model_name="types", model_version=1, timeout=60)
    assert status[1]["state"] == "AVAILABLE", status
    metadata = client.get_model_metadata(model_name="one", model_version=1, timeout=60)
    if make is ovmsclient.make_grpc_client:
        assert metadata["inputs"] == {"x": {"shape": [-1, 4], "dtype": "DT_FLOAT"}}, metadata
    else:  # the client expects OpenVINO's camelCase and returns TensorFlow Serving's JSON unchanged
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT", metadata
    answer = client.predict(inputs={"x": x}, model_name="one", model_version=1, timeout=60)
    assert np.array_equal(answer, 3 * x), answer
    try:
        client.predict(inputs={"x": x}, model_name="gone", model_version=1, timeout=60)
    except ModelNotFoundError as refused:
        assert "Servable not found for request: Specific(gone, 1)" in str(refused), refused
    else:
        raise AssertionError("the model gone does not exist, but was found")
print("ok")
