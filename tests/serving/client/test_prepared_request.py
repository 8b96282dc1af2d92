"""A request that is known beforehand: sent and decoded, or encoded once and sent repeatedly."""

from __future__ import annotations

import numpy as np
import pytest

from serving import Client
from serving.client.prepared_request import PreparedRequest
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Steps, T
from tests.serving.servers import small_server

X = np.float32([[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(("inputs", "rows"), [({"x": X}, 2), ({"x": np.float32(1)}, 1)])
def test_rows_are_the_first_dim_of_the_first_input(inputs: dict[str, np.ndarray], rows: int) -> None:
    assert PreparedRequest("affine", inputs).rows == rows


def test_a_prepared_call_is_sent_repeatedly_and_not_decoded() -> None:
    request = PreparedRequest("affine", {"x": X}, version=1)
    with small_server() as endpoints, Client(endpoints.rest_target) as client:
        np.testing.assert_array_equal(request.send(client)["y"], 2 * X + 1)
        call = request.prepare(client)
        assert call() == call()
        assert isinstance(call(), bytes)


def test_classify_and_regress_become_the_signatures_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RestProtocol, "classify", lambda *_: _no_steps([[("a", 0.5)], [("b", 0.25)]]))
    monkeypatch.setattr(RestProtocol, "regress", lambda *_: _no_steps([1.5, 2.5]))
    inputs = {"inputs": np.array([b"", b""], np.object_)}
    with Client("http://localhost:1") as client:
        classes = PreparedRequest("m", inputs, "classify", verb="Classify").send(client)
        assert classes["classes"].tolist() == [["a"], ["b"]]
        assert classes["scores"].dtype == np.float32
        values = PreparedRequest("m", inputs, "regress", verb="Regress").send(client)
        assert values["outputs"].tolist() == [1.5, 2.5]


def _no_steps(result: T) -> Steps[T]:
    yield from ()
    return result
