"""Requests whose arrays have no elements, which end a process in TensorFlow's fused kernels, leave the server alive.

Each model is served by a process of its own, as an abort cannot be caught.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import bundler
from serving import Client, ServingError
from serving.server.servables.zero_sizes import needs_unfused_products
from tests.bundler.converters.native.oracle import model_of
from tests.serving.processes import ServerProcess, server_process
from tests.serving.server.servables.product_models import graph_of, save_dense, save_fused, save_products

Array = np.ndarray


@pytest.fixture(scope="module", params=["1", "0"], ids=["oneDNN", "no oneDNN"])
def onednn(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(onednn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("products")
    saves = {"products": save_products, "dense": save_dense, "fused": save_fused}
    config = []
    for name, save in saves.items():
        save(folder / name / "1")
        config.append(f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}')
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(config)} }}")
    wrapper = ("env", f"TF_ENABLE_ONEDNN_OPTS={onednn}")
    with server_process(f"--model_config_file={folder / 'models.config'}", wrapper=wrapper) as running:
        yield running


@pytest.fixture(autouse=True)
def alive(server: ServerProcess) -> Iterator[Client]:
    """After every test the server still answers."""
    yield
    x = np.ones((1, 3), np.float32)
    assert ask(server, "dense", "dense", x=x).tolist() == [[4.0, 4.0, 4.0]]
    assert server.process.poll() is None


def ask(server: ServerProcess, model: str, signature: str, **inputs: Array) -> Array:
    with Client(server.grpc_target) as client:
        return next(iter(client.predict(model, inputs, signature=signature).values()))


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        ((2, 0), (0, 4), (2, 4)),
        ((0, 3), (3, 4), (0, 4)),
        ((0, 0), (0, 4), (0, 4)),
        ((2, 3), (3, 0), (2, 0)),
        ((0, 0), (0, 0), (0, 0)),
    ],
    ids=str,
)
def test_product_without_elements_is_its_bias(
    server: ServerProcess, a: tuple[int, int], b: tuple[int, int], shape: tuple[int, int]
) -> None:
    bias = np.arange(float(b[1]), dtype=np.float32)
    got = ask(server, "products", "product", a=ones(*a), b=ones(*b), c=bias)
    expected = ones(*a) @ ones(*b) + bias
    assert got.shape == shape
    assert got.tolist() == expected.tolist()


def test_product_that_becomes_empty_within_the_graph_is_its_bias(server: ServerProcess) -> None:
    got = ask(server, "products", "sliced", a=ones(2, 3), b=ones(3, 4), k=np.array(0, np.int32))
    assert got.tolist() == ones(2, 4).tolist()


@pytest.mark.parametrize(
    ("x", "w"),
    [((1, 5, 5, 2), (0, 3, 2, 4)), ((1, 5, 5, 0), (3, 3, 0, 4)), ((0, 5, 5, 2), (3, 3, 2, 4)), ((1, 0, 5, 2), (3, 3, 2, 4)),
     ((1, 5, 5, 2), (0, 0, 2, 4))],
    ids=str,
)  # fmt: skip
def test_convolution_without_elements_is_answered_or_refused(
    server: ServerProcess, x: tuple[int, ...], w: tuple[int, ...]
) -> None:
    try:
        got = ask(server, "products", "convolution", x=ones(*x), w=ones(*w))
    except ServingError as exc:
        assert "INVALID_ARGUMENT" in str(exc)
    else:
        assert got.shape[0] == x[0]


@pytest.mark.parametrize("signature", ["dense", "loop"])
def test_inner_dim_that_does_not_fit_a_weight_is_refused(server: ServerProcess, signature: str) -> None:
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        ask(server, "dense", signature, x=ones(2, 0))


def test_no_rows_have_no_answers(server: ServerProcess) -> None:
    assert ask(server, "dense", "dense", x=ones(0, 3)).shape == (0, 3)


def test_saved_fused_product_is_refused(server: ServerProcess) -> None:
    with pytest.raises(ServingError, match=r"Input a:0 of shape \[1, 0\] has no elements"):
        ask(server, "fused", "product", a=ones(1, 0), b=ones(0, 2))


@pytest.mark.sample(2)
def test_built_product_of_inputs_is_its_bias(onednn: str, tmp_path: Path) -> None:
    """The graph of a bundle is right as it is: `x @ w + b` with an inner size of 0 that only the request knows."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    example = {"x": ones(2, 3), "w": ones(3, 4), "b": ones(4)}
    model = model_of(nodes, example, ["y"], dynamic={"x": ["rows", "inner"], "w": ["inner", 4], "b": [4]})
    onnx.save(model, tmp_path / "product.onnx")
    bundler.build(str(tmp_path / "product.onnx"), out=tmp_path / "bundle", name="product")
    base = next((tmp_path / "bundle" / "models").glob("product"))
    assert not needs_unfused_products(graph_of(base / "1"))
    flags = ("--model_name=product", f"--model_base_path={base}")
    with server_process(*flags, wrapper=("env", f"TF_ENABLE_ONEDNN_OPTS={onednn}")) as server:
        for inner in (0, 3):
            for rows in (2, 0):
                bias = np.arange(4, dtype=np.float32)
                got = ask(server, "product", "serving_default", x=ones(rows, inner), w=ones(inner, 4), b=bias)
                np.testing.assert_array_equal(got, ones(rows, inner) @ ones(inner, 4) + bias)
        assert server.process.poll() is None
