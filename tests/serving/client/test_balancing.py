"""A gRPC client spreads its calls over all addresses of a name, as those of a headless Service."""

from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from serving import Client
from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from tests.requirements import require
from tests.serving.clients import each_client

CALLS = 40

client_class = each_client(__name__)


def has_ipv6() -> bool:
    """Whether localhost has a second address to listen on, ::1."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def counting_server(address: str, answers: Counter[str]) -> tuple[grpc.Server, int]:
    """Start a server whose Predict answers a number, and counts its calls under its address."""

    def predict(request: Any, _: grpc.ServicerContext) -> Any:
        answers[address] += 1
        response = serving_message("PredictResponse")()
        response.outputs["y"].CopyFrom(to_proto(np.float32(1)))
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        predict, serving_message("PredictRequest").FromString, lambda response: response.SerializeToString()
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PREDICTION_SERVICE, {"Predict": handler}),))
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def test_calls_take_turns_over_the_addresses_of_a_name() -> None:
    require(has_ipv6(), "an IPv6 loopback address (::1)")
    answers: Counter[str] = Counter()
    first, port = counting_server("127.0.0.1:0", answers)
    second, _ = counting_server(f"[::1]:{port}", answers)
    try:
        with Client(f"localhost:{port}") as client:
            for _ in range(CALLS):
                assert client.predict("m", {"x": np.float32(1)})["y"] == 1
        assert len(answers) == 2 and min(answers.values()) > CALLS // 4
    finally:
        first.stop(None), second.stop(None)


@pytest.mark.parametrize("target", ["localhost", "127.0.0.1"])
def test_a_name_whose_other_addresses_do_not_answer_is_served_by_one(target: str) -> None:
    answers: Counter[str] = Counter()
    server, port = counting_server("127.0.0.1:0", answers)
    try:
        with Client(f"{target}:{port}") as client:
            for _ in range(CALLS):
                assert client.predict("m", {"x": np.float32(1)})["y"] == 1
        assert answers.total() == CALLS
    finally:
        server.stop(None)
