"""tfbundle inspect on each kind of file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bundler.cli.commands import run


def test_inspect_shows_each_kind_of_file(copy: Path) -> None:
    text = run("inspect", copy).stdout
    assert "bundle small" in text
    assert "x=float32[batch,4]" in text
    saved = json.loads(run("inspect", copy / "models" / "mlp" / "1", "--json").stdout)
    assert saved["signatures"]["serving_default"]["inputs"] == [
        {"name": "x", "dtype": "float32", "dims": [None, 4]}
    ]
    assert saved["ops"]["MatMul"] == 2
    assert saved["details"]["warm_up"] is True
    assert saved["transposes"] == {"serving_default": 0}
    graph = json.loads(run("inspect", copy / "onnx" / "mlp" / "1.onnx", "--json").stdout)
    assert "transposes" not in graph
    assert (graph["kind"], graph["details"]["opset"], graph["ops"]) == ("onnx", 18, {"Gemm": 2, "Relu": 1})
    lite = json.loads(run("inspect", copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite", "--json").stdout)
    assert lite["signatures"]["serving_default"]["inputs"] == [
        {"name": "x", "dtype": "float32", "dims": [1, 4]}
    ]
    assert lite["ops"]["FULLY_CONNECTED"] == 2
    assert "  in  x=float32[?,4]" in run("inspect", copy / "models" / "mlp" / "1").stdout
    assert "  in  x=float32[batch,4]" in run("inspect", copy / "onnx" / "mlp" / "1.onnx").stdout


def test_inspect_shows_the_runtimes_of_a_tflite_file(copy: Path) -> None:
    file = copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite"
    assert "oldest runtime: litert 1.0.1, tflite-runtime 2.14.0\n" in run("inspect", file).stdout
    assert json.loads(run("inspect", file, "--json").stdout)["requirements"] == {
        "minimum": {"litert": "1.0.1", "tflite-runtime": "2.14.0"}, "known_bad": [],
    }  # fmt: skip


def test_inspect_delegates_of_a_bundle_and_of_a_file(copy: Path) -> None:
    text = run("inspect", copy, "--delegates").stdout
    assert "tflite/mlp/1/mlp-float32.tflite\n  XNNPACK runs 2 of 2 nodes in 1 partition (measured)\n" in text
    assert "  gpu: takes 2 of 2 nodes\n" in text and "gpu: GPU delegate (OpenCL, OpenGL, Metal), by the list of LiteRT v" in text
    file = copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite"
    (rows,) = json.loads(run("inspect", file, "--delegate", "gpu", "--json").stdout).values()
    assert list(rows) == ["XNNPACK", "gpu"] and (rows["gpu"]["nodes"], rows["gpu"]["taken"]) == (2, 2)


def test_inspect_refuses_an_unknown_delegate_and_a_folder_without_files(copy: Path) -> None:
    output = run("inspect", copy, "--delegate", "tpu", code=2).output
    assert "Unknown delegate 'tpu'." in output and "choose from: gpu, coreml" in output
    assert "has no .tflite file" in run("inspect", copy / "models", "--delegates", code=2).output


def test_inspect_counts_transposes_by_signature(tmp_path: Path) -> None:
    """A convolution on channels-first pixels needs one; a second signature has its own count."""
    import numpy as np
    import onnx.parser

    from bundler.converters import load_converter

    weights = np.ones((4, 3, 1, 1), np.float32).tobytes()
    files = {}
    for name, ends in (("serving_default", "(float[N,3,8,8] x) => (float[N,4] y)"), ("rows", "(float[N,4] x) => (float[N,4] y)")):
        body = "{ c = Conv(x, w) r = Relu(c) g = GlobalMaxPool(r) y = Flatten(g) }" if name != "rows" else "{ y = Relu(x) }"
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> graph {ends} {body}')
        if name != "rows":
            model.graph.initializer.append(onnx.helper.make_tensor("w", 1, (4, 3, 1, 1), weights, raw=True))
        files[name] = tmp_path / f"{name}.onnx"
        onnx.save(model, str(files[name]))
    converter = load_converter("native")
    converter.convert({"serving_default": files["serving_default"]}).save(tmp_path / "one")
    converter.convert(files).save(tmp_path / "two")
    assert "transposes: 1\n" in run("inspect", tmp_path / "one").stdout
    assert "transposes: rows 0, serving_default 1\n" in run("inspect", tmp_path / "two").stdout
    both = json.loads(run("inspect", tmp_path / "two", "--json").stdout)["transposes"]
    assert both == {"rows": 0, "serving_default": 1}


def test_inspect_names_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"\xff\xff")
    (tmp_path / "text.txt").write_text("text")
    assert "does not exist" in run("inspect", tmp_path / "nothing", code=2).stderr
    assert "is not a bundle" in run("inspect", tmp_path / "text.txt", code=2).stderr
    for name in ("bad.tflite", "bad.onnx", "bad"):
        assert name in run("inspect", tmp_path / name, code=1).stderr
