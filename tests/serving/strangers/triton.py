"""NVIDIA's tritonclient, as its examples use it, over HTTP and gRPC, blocking and asyncio. Usage: triton.py HOST:GRPC HOST:REST

The server has the models `types` (returns each of its inputs), `rows` and `one` (triples x). Prints `ok` at the end.
"""

import asyncio
import sys

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

GRPC, REST = sys.argv[1:3]
VALUES = {
    "b": np.array([True, False]),
    "d": np.array([1.5, -1e300]),
    "f": np.array([1.5, 3.25], np.float32),
    "i16": np.array([-(2**15), 1], np.int16),
    "i32": np.array([-(2**31), 1], np.int32),
    "i64": np.array([-(2**63), 2**63 - 1], np.int64),
    "i8": np.array([-128, 127], np.int8),
    "s": np.array([b"text", "gr\u00fc\u00dfe".encode()], np.object_),
    "u32": np.array([0, 2**32 - 1], np.uint32),
    "u64": np.array([0, 2**64 - 1], np.uint64),
    "u8": np.array([0, 255], np.uint8),
}
OTHERS = {
    "types/one_u16": {"u16": np.array([0, 2**16 - 1], np.uint16)},
    "rows/half": {"h": np.array([1.5, -0.25], np.float16)},
    "rows/bf16": {"h": np.array([1.5, -0.25], ml_dtypes.bfloat16)},
}
"""MODEL/SIGNATURE -> inputs of datatypes that the default signature does not have."""


def inputs(package, values, **options):
    made = []
    for name, value in values.items():
        made.append(package.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        made[-1].set_data_from_numpy(value, **options)
    return made


def check(result, values):
    for name, value in values.items():
        got = result.as_numpy(f"{name}_o")
        if got.dtype == np.object_:  # strings over JSON are str
            got = np.array([text if isinstance(text, bytes) else text.encode() for text in got], np.object_)
        assert got.dtype == value.dtype and np.array_equal(got, value), (name, got, value)


def check_server(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("types")
    assert client.is_model_ready("types", "1")


def refused(call, *words):
    try:
        call()
    except InferenceServerException as exc:
        assert all(word in str(exc) for word in words), exc
    else:
        raise AssertionError(f"not refused: {words}")


def check_others(package, client):
    for signature, values in OTHERS.items():
        model, _, name = signature.partition("/")
        result = client.infer(model, inputs(package, values), parameters={"signature_name": name})
        ((_, value),) = values.items()
        output = {"one_u16": "u16_o", "half": "f16", "bf16": "bf16"}[name]
        got = result.as_numpy(output)
        assert got.dtype == value.dtype and got.shape == value.shape, (name, got)
        assert name != "one_u16" or np.array_equal(got, value), got


def use_http():
    package = tritonclient.http
    with package.InferenceServerClient(REST) as client:
        check_server(client)
        assert client.get_server_metadata()["name"] == "tfbundle"
        metadata = client.get_model_metadata("types")
        assert {"name": "b", "datatype": "BOOL", "shape": [-1]} in metadata["inputs"], metadata
        dbl = client.get_model_metadata("types", query_params={"signature_name": "one_u16"})
        assert dbl["inputs"][0]["datatype"] == "UINT16", dbl
        assert any(entry["name"] == "types" and entry["state"] == "READY" for entry in client.get_model_repository_index())
        for sent in (True, False):
            everything = inputs(package, VALUES, binary_data=sent)
            check(client.infer("types", everything), VALUES)
            for answered in (True, False):
                names = [package.InferRequestedOutput(f"{name}_o", binary_data=answered) for name in VALUES]
                result = client.infer("types", everything, outputs=names, request_id="seven", model_version="1")
                check(result, VALUES)
                assert result.get_response()["id"] == "seven"
        only = client.infer("types", everything, outputs=[package.InferRequestedOutput("f_o")])
        assert [output["name"] for output in only.get_response()["outputs"]] == ["f_o"]
        check(client.infer("types", everything, request_compression_algorithm="gzip"), VALUES)
        refused(lambda: client.infer("types", everything, request_compression_algorithm="deflate"), "deflate")
        check(client.async_infer("types", everything).get_result(), VALUES)
        refused(lambda: client.infer("gone", everything), "404", "gone")
        refused(lambda: client.infer("types", everything[1:]), "400", "Missing but required: {b}")
        classes = [package.InferRequestedOutput("f_o", class_count=2)]
        refused(lambda: client.infer("types", everything, outputs=classes), "classification")
        check_others(package, client)
        large = {"x": np.arange(4e6, dtype=np.float32).reshape(-1, 4)}
        assert np.array_equal(client.infer("one", inputs(package, large)).as_numpy("y"), 3 * large["x"])


def use_grpc():
    package = tritonclient.grpc
    with package.InferenceServerClient(GRPC) as client:
        check_server(client)
        assert client.get_server_metadata().name == "tfbundle"
        metadata = client.get_model_metadata("types", as_json=True)
        assert {"name": "b", "datatype": "BOOL", "shape": ["-1"]} in metadata["inputs"], metadata
        assert any(entry.name == "types" for entry in client.get_model_repository_index().models)
        everything = inputs(package, VALUES)
        result = client.infer("types", everything, request_id="seven", model_version="1")
        check(result, VALUES)
        assert result.get_response().id == "seven"
        only = client.infer("types", everything, outputs=[package.InferRequestedOutput("f_o")])
        assert [output.name for output in only.get_response().outputs] == ["f_o"]
        check_others(package, client)
        refused(lambda: client.infer("gone", everything), "NOT_FOUND", "gone")
        refused(lambda: client.infer("types", everything[1:]), "INVALID_ARGUMENT", "Missing but required: {b}")
        refused(lambda: client.infer("types", everything, sequence_id=3), "sequence_id")
        refused(lambda: client.load_model("types"), "UNIMPLEMENTED")
        refused(lambda: client.get_model_config("types"), "UNIMPLEMENTED")


async def use_asyncio():
    for package, address in ((tritonclient.http.aio, REST), (tritonclient.grpc.aio, GRPC)):
        async with package.InferenceServerClient(address) as client:
            assert await client.is_server_live() and await client.is_model_ready("types")
            everything = inputs(package, VALUES)
            for result in await asyncio.gather(*(client.infer("types", everything) for _ in range(8))):
                check(result, VALUES)


use_http()
use_grpc()
asyncio.run(use_asyncio())
print("ok")
