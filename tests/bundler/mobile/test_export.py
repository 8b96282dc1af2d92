"""tfbundle export-mobile: files with metadata, checksums, and code that runs unchanged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bundler.bundle.manifest import Manifest
from bundler.cli.app import app
from bundler.errors import UsageError, VerifyError
from bundler.mobile import ExportOptions, export_mobile
from bundler.mobile.model import Preprocessing
from bundler.tflite.packed import unpack
from bundler.tflite.runner import TfliteModel
from bundler.validation.bundle import Bundle
from serving.protocol.tflite_file import read_metadata
from tests.bundler.mobile.models import CLASSES, image_model, run_exported


@pytest.fixture(scope="module")
def out(small_bundle: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mobile") / "out"
    export_mobile(Bundle.open(small_bundle), out, ExportOptions(labels=str(labels)))
    return out


def run(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def test_export_has_all_files_with_checksums(out: Path) -> None:
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    calls = {
        "python/mlp.py", "python/test_mlp.py", "cpp/mlp.h", "cpp/mlp.cc", "cpp/mlp_test.cc", "js/mlp.mjs", "js/mlp.test.mjs",
        "kotlin/MlpModelSpec.kt", "kotlin/MlpModel.kt", "kotlin/MlpModelCompiled.kt", "kotlin/MlpModelGoldenTest.kt",
        "swift/MlpModelSpec.swift", "swift/MlpModel.swift", "swift/MlpModelGoldenTest.swift",
    }  # fmt: skip
    libraries = {
        "python/tfbundle_tensors.py", "cpp/tfbundle_tensors.h", "js/tfbundle_tensors.mjs", "kotlin/TfbundleTensors.kt",
        "swift/TfbundleTensors.swift",
    }  # fmt: skip
    golden = {f"golden/mlp/{name}" for name in ("x.values", "float32.y.out.bin")}
    page = {"web/index.html", "web/model.js", "web/page.js"}
    files_of_models = {"mlp-float32.tflite", "mlp-labels.txt", "README.md", "export.json", "SHA256SUMS"}
    assert files == files_of_models | calls | libraries | golden | page
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text("utf-8").splitlines())
    assert set(sums) == files - {"SHA256SUMS"}
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # the staging folder is gone


def test_export_names_the_oldest_runtimes(out: Path) -> None:
    (record,) = json.loads((out / "export.json").read_text("utf-8"))["models"][0]["variants"]
    assert record["runtime"] == {"minimum": {"litert": "1.0.1", "tflite-runtime": "2.14.0"}, "known_bad": []}
    assert record["delegates"]["gpu"]["nodes"] == record["delegates"]["gpu"]["taken"] == 2
    assert "| mlp-float32.tflite | 2 of 2 | 2 of 2 |" in (out / "README.md").read_text("utf-8")
    assert "| mlp-float32.tflite | 1.0.1 | 2.14.0 |" in (out / "README.md").read_text("utf-8")
    entry = read_metadata((out / "mlp-float32.tflite").read_bytes())["min_runtime_version"]
    assert entry == b"2.14.0".ljust(16, b"\0")


def test_export_for_a_target_runtime(small_bundle: Path, tmp_path: Path) -> None:
    run("export-mobile", small_bundle, "-o", tmp_path / "out", "--target-runtime", "tflite-runtime==2.14")
    assert TfliteModel(tmp_path / "out" / "mlp-float32.tflite").inputs
    result = run("export-mobile", small_bundle, "-o", tmp_path / "no", "--target-runtime", "litert==9.0", code=2)
    assert "no operators are recorded for litert 9.0" in result.output and not (tmp_path / "no").exists()


def test_a_tokenizer_for_a_model_without_tokens_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    result = run("export-mobile", small_bundle, "-o", tmp_path / "out", "--tokenizer", tmp_path / "vocab.txt", code=2)
    assert "MediaPipe's text tasks need token ids" in result.output and not (tmp_path / "out").exists()


def test_export_says_that_mediapipe_has_no_task_for_plain_numbers(out: Path) -> None:
    (record,) = json.loads((out / "export.json").read_text("utf-8"))["models"][0]["variants"]
    assert record["mediapipe"]["ImageClassifier"] == "x=float32[1,4] is not an image"
    assert "MediaPipe has no task for these inputs." in (out / "README.md").read_text("utf-8")


def test_exported_file_has_metadata_and_labels(out: Path) -> None:
    metadata, files = unpack((out / "mlp-float32.tflite").read_bytes())
    assert metadata is not None
    assert (metadata["name"], metadata["version"], metadata["min_parser_version"]) == ("mlp", "1", "1.0.0")
    (graph,) = metadata["subgraph_metadata"]
    (x,), (y,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert (x["name"], x["description"], x["dimension_names"]) == ("x", "float32 [1, 4]", ["batch", "dim_1"])
    assert y["name"] == "y"
    assert [(file["name"], file["type"]) for file in y["associated_files"]] == [("mlp-labels.txt", 2)]
    assert files == {"mlp-labels.txt": "no\nyes\nça dépend\n".encode()}
    with zipfile.ZipFile(out / "mlp-float32.tflite") as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_exported_file_has_the_outputs_of_the_bundles_file(out: Path, small_bundle: Path) -> None:
    original = TfliteModel(small_bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite")
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    want, got = original({"x": x})["y"], TfliteModel(out / "mlp-float32.tflite")({"x": x})["y"]
    assert got.dtype == want.dtype and got.tobytes() == want.tobytes()


def test_python_code_runs_unchanged(out: Path) -> None:
    printed = run_exported(out, "runpy.run_path('mlp.py', run_name='__main__')")
    assert "y float32 (1, 3)" in printed
    assert any(f"label: {name}" in printed for name in CLASSES)


def test_python_code_returns_the_files_outputs(out: Path) -> None:
    code = "import mlp; print(mlp.MlpModel()([[1, 2, 3, 4]])['y'].tolist())"
    got = np.float32(json.loads(run_exported(out, code)))
    want = TfliteModel(out / "mlp-float32.tflite")({"x": np.float32([[1, 2, 3, 4]])})["y"]
    np.testing.assert_array_equal(got, want)


def test_readme_and_json_have_the_measurements(out: Path, small_bundle: Path) -> None:
    figures = Bundle.open(small_bundle).record("mlp")["tflite"]["float32"]
    (model,) = json.loads((out / "export.json").read_text("utf-8"))["models"]
    (variant,) = model["variants"]
    assert variant["latency_ms"] == figures["latency_ms"]
    assert variant["size_bytes"] == (out / "mlp-float32.tflite").stat().st_size > figures["size_bytes"]
    text = (out / "README.md").read_text("utf-8")
    assert f"{figures['latency_ms']['1']:.3g} ms" in text
    assert variant["load_ms"] == figures["load_ms"] > 0
    assert f"| {figures['load_ms']:.3g} ms |" in text
    assert variant["delegation"] == figures["delegation"]
    assert "| 2 of 2 nodes in 1 partition |" in text
    assert "| mlp-float32.tflite | – |" in text  # XNNPACK runs all
    assert "| FULLY_CONNECTED | 2 |" in text
    assert "| input | `x` | float32 | [1, 4] |" in text


def test_equal_exports_have_equal_bytes(out: Path, small_bundle: Path, labels: Path, tmp_path: Path) -> None:
    export_mobile(Bundle.open(small_bundle), tmp_path / "again", ExportOptions(labels=str(labels)))
    assert (tmp_path / "again" / "SHA256SUMS").read_bytes() == (out / "SHA256SUMS").read_bytes()


def test_inspect_prints_the_metadata(out: Path) -> None:
    printed = run("inspect", out / "mlp-float32.tflite").stdout
    assert "in  x: float32 [1, 4]; dims batch, dim_1" in printed
    assert "labels mlp-labels.txt" in printed and "files mlp-labels.txt 19 B" in printed
    facts = json.loads(run("inspect", out / "mlp-float32.tflite", "--json").stdout)
    assert facts["metadata"]["name"] == "mlp"
    assert facts["details"]["weights"]["float32"] >= 4 * (4 * 8 + 8 * 3)
    assert facts["details"]["runtime"]


def test_command_prints_the_written_files(small_bundle: Path, tmp_path: Path) -> None:
    printed = run("export-mobile", small_bundle, "-o", tmp_path / "a", "--variant", "float32").stdout
    assert "mlp-float32.tflite" in printed and f"Written: {tmp_path / 'a'}" in printed
    facts = json.loads(run("export-mobile", small_bundle, "-o", tmp_path / "b", "--json").stdout)
    assert facts["models"][0]["variants"][0]["variant"] == "float32"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--variant", "int8"], 2, "There is no variant 'int8'"),
        (["--model", "other"], 1, "no model 'other'"),
        (["--version", "7"], 1, "has no version 7"),
        (["--labels", "missing.txt"], 2, "cannot be read"),
        (["--mean", "1"], 2, "does not take an image"),
        (["--mean", "a"], 2, "is not a list of numbers"),
        (["--std", "nan"], 2, "is not a list of numbers"),
    ],
)
def test_invalid_request_leaves_no_files(
    small_bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run("export-mobile", small_bundle, "-o", tmp_path / "x", *arguments, code=code)
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_not_changed(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    assert "already exists" in run("export-mobile", small_bundle, "-o", tmp_path / "x", code=2).output
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine"]
    (tmp_path / "x" / "mine").unlink()
    run("export-mobile", small_bundle, "-o", tmp_path / "x")  # an empty folder is allowed


def test_failure_during_export_leaves_no_files(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bundler.mobile.export.readme", full)
    result = run("export-mobile", small_bundle, "-o", tmp_path / "x", code=1)
    assert "There is no space left" in result.output
    assert list(tmp_path.iterdir()) == []


def test_file_that_changed_since_the_build_is_rejected(small_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    file = copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(VerifyError, match="not the file that was built"):
        export_mobile(Bundle.open(copy), tmp_path / "x")
    file.unlink()
    with pytest.raises(VerifyError, match="cannot be read"):
        export_mobile(Bundle.open(copy), tmp_path / "x")


def test_model_without_tflite_files_is_an_error(small_bundle: Path, tmp_path: Path) -> None:
    bundle = without_variants(small_bundle, {})
    with pytest.raises(UsageError, match="has TFLite files"):
        export_mobile(bundle, tmp_path / "x")
    with pytest.raises(UsageError, match="no TFLite files of this model"):
        export_mobile(bundle, tmp_path / "x", ExportOptions(models=("mlp",)))


def without_variants(root: Path, refused: dict[str, Any]) -> Bundle:
    opened = Bundle.open(root)
    record = {**opened.record("mlp"), "tflite": {}, "tflite_refused": refused}
    return Bundle(opened.layout, Manifest(opened.manifest.spec, {"mlp": {1: record}}, opened.manifest.files))


@pytest.mark.parametrize("names", [("a-b", "a_b"), ("net", "Net"), ("x1", "x-1")])
def test_models_that_would_share_files_are_exported_one_by_one(names: tuple[str, str]) -> None:
    from bundler.mobile.export import _check_file_names

    with pytest.raises(UsageError, match=f"The code of {names[0]} and of {names[1]} would be in the same files") as caught:
        _check_file_names(names)
    assert caught.value.fix == f"export them one by one: --model {names[1]}"
    _check_file_names(("digits", "sentences"))


def test_normalization_that_does_not_fit_the_image_is_rejected() -> None:
    from bundler.mobile.export import _normalized

    model = image_model("x=float32[1,3,8,6]")
    with pytest.raises(UsageError, match="mean has 2 numbers, but the image has 3 channels"):
        _normalized(model, ExportOptions(mean=(1.0, 2.0)))
    with pytest.raises(UsageError, match="std must not be 0"):
        _normalized(model, ExportOptions(std=(0.0,)))
    assert _normalized(model, ExportOptions(mean=(1.0,))).preprocessing == Preprocessing((1.0,), (1.0,))
    declared = Preprocessing((2.0,), (2.0,), 8, True, "bicubic", "bgr")
    with_mean = _normalized(replace(model, preprocessing=declared), ExportOptions(mean=(1.0,)))
    assert with_mean.preprocessing == replace(declared, mean=(1.0,), std=(1.0,))  # the rest stays as declared
    with pytest.raises(UsageError, match="resize 7 is smaller than the crop of 8x6"):
        _normalized(replace(model, preprocessing=replace(declared, resize=7)), ExportOptions())
    assert _normalized(model, ExportOptions()).preprocessing is None


@pytest.mark.slow
def test_image_settings_reach_metadata_readme_and_code(colors: Path) -> None:
    metadata, _ = unpack((colors / "colors-float32.tflite").read_bytes())
    assert metadata is not None
    ((image,),) = [graph["input_tensor_metadata"] for graph in metadata["subgraph_metadata"]]
    texts = [image["description"], (colors / "README.md").read_text("utf-8")]
    paths = ("python/colors.py", "kotlin/ColorsModelSpec.kt", "swift/ColorsModelSpec.swift", "cpp/colors.h", "js/colors.mjs")
    texts += [(colors / path).read_text("utf-8") for path in paths]
    for text in texts:
        for setting in ("shorter side to 12 (bicubic", "8x10 (height x width) from the middle", "BGR", "mean [103.53, 116.28"):
            assert setting in text
