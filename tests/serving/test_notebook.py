"""Objects of the public API show themselves: in a prompt, in a notebook, and in help()."""

from __future__ import annotations

import inspect
from pathlib import Path

import bundler
from bundler import Bundle
from serving import Client, Server
from serving.notebook import html_table


def test_texts_in_a_table_are_escaped() -> None:
    assert "<td>&lt;b&gt;</td>" in html_table("t", ("a",), [("<b>",)])
    assert "<caption>a &amp; b</caption>" in html_table("a & b", (), [])


def test_a_bundle_shows_its_models_and_versions(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    assert repr(bundle) == f"Bundle({str(small_bundle)!r}: mlp [1])"
    assert "<td>mlp</td><td>1</td><td>x=float32[batch,4]</td><td>float32</td>" in bundle._repr_html_()


def test_a_client_shows_its_target() -> None:
    with Client("localhost:8500") as client:
        assert repr(client) == "Client('grpc://localhost:8500', timeout=30)"


def test_a_server_shows_what_it_serves_and_whether_it_runs(small_bundle: Path) -> None:
    server = Server(small_bundle, grpc_port=0, rest_port=None)
    assert repr(server) == f"Server({str(small_bundle)!r}, host='127.0.0.1', grpc_port=0, not started)"


def test_a_converted_model_shows_its_signatures(mlp_onnx: Path) -> None:
    model = bundler.convert(mlp_onnx)
    assert repr(model) == "NativeModel(serving_default: x=float32[batch,4] -> y=float32[batch,3])"
    assert "<td>serving_default</td><td>x=float32[batch,4]</td><td>y=float32[batch,3]</td>" in model._repr_html_()  # type: ignore[attr-defined]


def test_signatures_name_every_keyword_with_its_type() -> None:
    for function, expected in (
        (bundler.build, {"tflite", "inputs", "dynamic_shapes", "adopt"}),
        (Server, {"prefer_tflite", "poll_seconds", "grpc_port"}),
    ):
        parameters = inspect.signature(function).parameters
        assert expected <= set(parameters)
        for parameter in parameters.values():
            assert parameter.kind is not parameter.VAR_KEYWORD
            assert parameter.annotation is not parameter.empty, parameter
