"""The gRPC server: health, reflection and large messages."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from serving.server import Server, ServerOptions
from tests.serving.server.recordings import MODELS


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODELS / "rows") as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


def test_health_is_serving_under_the_real_servers_names(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "PredictionService", "ModelService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService"), timeout=10)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_off_by_default_as_in_the_real_server() -> None:
    options = ServerOptions(model_name="rows", model_base_path=str(MODELS / "rows"), grpc_port=0)
    with Server(options) as running, grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as opened:
        assert running.rest_port is None
        with pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_and_describes_the_services(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {PREDICTION_SERVICE, "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= services
    file = database.FindFileContainingSymbol(PREDICTION_SERVICE)
    assert "Predict" in {method.name for service in file.service for method in service.method}
    assert database.FindFileContainingSymbol("grpc.health.v1.Health")


def test_messages_may_be_large(channel: grpc.Channel) -> None:
    request = serving_message("PredictRequest")(model_spec={"name": "rows", "signature_name": "single"})
    request.inputs["x"].CopyFrom(to_proto(np.ones((2_000_000, 4), np.float32)))
    call = channel.unary_unary(
        f"/{PREDICTION_SERVICE}/Predict",
        request_serializer=serving_message("PredictRequest").SerializeToString,
        response_deserializer=len,
    )
    with pytest.raises(grpc.RpcError) as too_large:  # the client's limit; the server's only limit is that of int32
        call(request, timeout=60)
    assert too_large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in (too_large.value.details() or "")
