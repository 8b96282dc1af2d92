"""openapi.json of a bundle holds for what the bundle answers."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.render.openapi import render
from bundler.render.parts import render_context
from bundler.validation.bundle import Bundle
from serving.server import Server
from tests.bundler.cli.commands import run
from tests.bundler.render.report.pages import make_manifest, with_manifest
from tests.serving.protocol.openapi_documents import check_document, problems

ROW = [0.5] * 8
SECONDS = 30


def fetch(server: Server, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}{path}", data, timeout=SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_a_bundles_answers_fit_its_document(small_bundle: Path) -> None:
    made = json.loads((small_bundle / "openapi.json").read_text("utf-8"))
    check_document(made)
    assert made["info"] == {**made["info"], "title": "small", "version": "mlp 1"}
    (signature,) = Bundle.open(small_bundle).manifest.models["mlp"][1]["signatures"].values()
    (x,) = signature["inputs"]
    rows = {"instances": [[0.5] * x["dims"][1]] * 2}
    with Server(small_bundle, open_inference_protocol=True) as server:
        served = fetch(server, "/openapi.json")[1]
        for path in ("/v1/models/mlp", "/v1/models/mlp/versions/1"):
            columns = {"inputs": {x["name"]: rows["instances"]}}
            calls = ((f"{path}:predict", rows), (f"{path}:predict", columns), (path, None), (f"{path}/metadata", None))
            for address, body in calls:
                status, answer = fetch(server, address, body)
                method = "get" if body is None else "post"
                for document in (made, served):
                    assert body is None or not problems(document, address, method, body)
                    assert (status, problems(document, address, method, answer, status=status)) == (200, []), address
            refused = fetch(server, f"{path}:predict", {"instances": [["text"]]})
            assert problems(made, f"{path}:predict", "post", {"instances": [["text"]]})
            assert (refused[0], problems(made, f"{path}:predict", "post", refused[1], status=400)) == (400, [])
        tensor = {"name": x["name"], "datatype": "FP32", "shape": [2, x["dims"][1]], "data": rows["instances"]}
        inference = {"inputs": [tensor]}
        status, answer = fetch(server, "/v2/models/mlp/infer", inference)
        assert not problems(served, "/v2/models/mlp/infer", "post", inference)
        assert (status, problems(served, "/v2/models/mlp/infer", "post", answer, status=200)) == (200, [])
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/mlp", "/v2/models/mlp/ready"):
            assert problems(served, path, "get", fetch(server, path)[1], status=200) == []
    check_document(served)
    assert [path for path in served["paths"] if path.startswith("/v1")] == list(made["paths"])
    assert not any(path.startswith("/v2") for path in made["paths"])


def test_labels_and_methods_are_those_of_the_bundle(tmp_path: Path) -> None:
    manifest = make_manifest()
    record = manifest["models"]["digits"]["versions"]["3"]
    record["methods"] = {"serving_default": "classify"}
    render(with_manifest(manifest), tmp_path)
    made = json.loads((tmp_path / "openapi.json").read_text("utf-8"))
    check_document(made)
    assert "/v1/models/digits:classify" in made["paths"]
    assert made["servers"] == [{"url": "http://localhost:8501"}]


def test_render_writes_it_alone(small_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "small"
    shutil.copytree(small_bundle, copy)
    before = (copy / "openapi.json").read_bytes()
    (copy / "openapi.json").write_text("edited")
    run("render", copy, "openapi")
    assert (copy / "openapi.json").read_bytes() == before
    assert (copy / "openapi.json.orig").read_text() == "edited"
    context = render_context("small", Manifest.read(BundleLayout(copy).manifest))
    render(context, tmp_path)
    assert (tmp_path / "openapi.json").read_bytes() == before
