"""KServe's SDK, as its documentation uses it: REST and gRPC, JSON and binary. Usage: kserve_sdk.py HOST:GRPC HOST:REST

The package's `__init__` imports KServe's own model server, which needs pandas, Kubernetes and more (300 MB). The client is
imported without them: `kserve` is the package's folder without its `__init__`, and what its modules name but the client never
uses is empty. Prints `ok` at the end.
"""

import asyncio
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np

GRPC, REST = sys.argv[1:3]
UNUSED = {
    "pandas": ("DataFrame",), "fastapi": (), "fastapi.responses": ("JSONResponse",), "cloudevents": (),
    "cloudevents.conversion": ("to_binary", "to_structured"), "cloudevents.http": ("CloudEvent",),
}  # fmt: skip
for name, members in UNUSED.items():
    sys.modules[name] = ModuleType(name)
    for member in members:
        setattr(sys.modules[name], member, type(member, (), {}))
found = find_spec("kserve")
assert found is not None, "kserve is not installed"
sys.modules["kserve"] = ModuleType("kserve")
sys.modules["kserve"].__path__ = list(found.submodule_search_locations or [])

import grpc  # noqa: E402
import httpx  # noqa: E402
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig  # noqa: E402
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput  # noqa: E402

VALUES = {
    "b": ("BOOL", np.array([True, False])),
    "d": ("FP64", np.array([1.5, -1e300])),
    "f": ("FP32", np.array([1.5, 3.25], np.float32)),
    "i16": ("INT16", np.array([-(2**15), 1], np.int16)),
    "i32": ("INT32", np.array([-(2**31), 1], np.int32)),
    "i64": ("INT64", np.array([-(2**63), 2**63 - 1], np.int64)),
    "i8": ("INT8", np.array([-128, 127], np.int8)),
    "s": ("BYTES", np.array([b"text", "gr\u00fc\u00dfe".encode()], np.object_)),
    "u32": ("UINT32", np.array([0, 2**32 - 1], np.uint32)),
    "u64": ("UINT64", np.array([0, 2**64 - 1], np.uint64)),
    "u8": ("UINT8", np.array([0, 255], np.uint8)),
}


def request(*, binary, model="types", **options):
    inputs = []
    for name, (datatype, value) in VALUES.items():
        inputs.append(InferInput(name, list(value.shape), datatype))
        inputs[-1].set_data_from_numpy(value, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=inputs, **options)


def check(response, names=tuple(VALUES)):
    assert {output.name for output in response.outputs} == {f"{name}_o" for name in names}, response
    for output in response.outputs:
        datatype, value = VALUES[output.name.removesuffix("_o")]
        got = output.as_numpy()
        if datatype == "BYTES":
            got = np.array([text if isinstance(text, bytes) else text.encode() for text in got], np.object_)
        assert output.datatype == datatype and np.array_equal(got, value), (output.name, got, value)


async def use_rest():
    base = f"http://{REST}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(base) is True and await client.is_server_ready(base) is True
        assert await client.is_model_ready(base, "types") is True
        assert await client.is_model_ready(base, "gone") is False
        for sent in (True, False):
            check(await client.infer(base, request(binary=sent), model_name="types"))
            wants = {"binary_data_output": True}
            response = await client.infer(base, request(binary=sent, parameters=wants, request_id="7"), model_name="types")
            check(response)
            assert response.id == "7"
        only = request(binary=False, request_outputs=[RequestedOutput("f_o", {"binary_data": True})])
        check(await client.infer(base, only, model_name="types"), ["f"])
        try:
            await client.infer(base, request(binary=True), model_name="gone")
        except httpx.HTTPStatusError as refused:
            assert refused.response.status_code == 404 and "Latest(gone)" in str(refused), refused
        else:
            raise AssertionError("the model gone does not exist, but was found")


async def use_grpc():
    async with InferenceGRPCClient(GRPC, verbose=False) as client:
        assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("types")
        for sent in (True, False):
            check(await client.infer(request(binary=sent)))
        try:
            await client.infer(request(binary=True, model="gone"))
        except grpc.RpcError as refused:
            assert refused.code() == grpc.StatusCode.NOT_FOUND, refused
        else:
            raise AssertionError("the model gone does not exist, but was found")


asyncio.run(use_rest())
asyncio.run(use_grpc())
print("ok")
