"""tfbundle export-mobile: files that say what they are, checksums, and calls that work as they stand."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bundler.bundle.manifest import Manifest
from bundler.cli.app import app
from bundler.errors import UsageError, VerifyError
from bundler.mobile import ExportOptions, export_mobile
from bundler.mobile.labels import read_labels
from bundler.mobile.metadata import Image, Labels, Tensors, model_metadata
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing, _accuracy, read_model
from bundler.mobile.snippets import arguments, snippets
from bundler.tflite.packed import unpack
from bundler.tflite.runner import TfliteModel
from bundler.validation.bundle import Bundle
from bundler.values.signature import Signature, TensorSpec
from tests.requirements import require_program

HEADERS = Path(__file__).parent / "tflite_headers"
CLASSES = ("no", "yes", "ça dépend")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "classes.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")
    return path


@pytest.fixture(scope="module")
def out(small_bundle: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mobile") / "out"
    export_mobile(Bundle.open(small_bundle), out, ExportOptions(labels=str(labels)))
    return out


def run(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def test_all_that_an_app_needs_is_there_with_checksums(out: Path) -> None:
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    calls = {"python/mlp.py", "kotlin/MlpModel.kt", "swift/MlpModel.swift", "cpp/mlp.cc"}
    assert files == {"mlp-float32.tflite", "mlp-labels.txt", "README.md", "export.json", "SHA256SUMS", *calls}
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text("utf-8").splitlines())
    assert set(sums) == files - {"SHA256SUMS"}
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing of the staging is left


def test_the_metadata_are_read_back(out: Path) -> None:
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


def test_the_file_answers_what_the_bundles_does(out: Path, small_bundle: Path) -> None:
    original = TfliteModel(small_bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite")
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    want, got = original({"x": x})["y"], TfliteModel(out / "mlp-float32.tflite")({"x": x})["y"]
    assert got.dtype == want.dtype and got.tobytes() == want.tobytes()


def in_clean_process(code: str, folder: Path) -> str:
    """Python without this repository; `ai_edge_litert` and NumPy are all that a call may import."""
    check = "import sys; bad = {'bundler', 'serving', 'tensorflow', 'torch'} & set(sys.modules); assert not bad, bad"
    command = [sys.executable, "-I", "-c", f"{code}\n{check}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_python_call_runs_as_it_stands(out: Path, tmp_path: Path) -> None:
    said = in_clean_process(f"import runpy; runpy.run_path({str(out / 'python/mlp.py')!r}, run_name='__main__')", tmp_path)
    assert "y float32 (1, 3)" in said
    assert any(f"label: {name}" in said for name in CLASSES)


def test_the_python_call_answers_what_the_model_does(out: Path, tmp_path: Path) -> None:
    code = (
        f"import runpy, numpy as np; model = runpy.run_path({str(out / 'python/mlp.py')!r})['MlpModel']();"
        "print(model([[1, 2, 3, 4]])['y'].tolist())"
    )
    got = np.float32(json.loads(in_clean_process(code, tmp_path)))
    want = TfliteModel(out / "mlp-float32.tflite")({"x": np.float32([[1, 2, 3, 4]])})["y"]
    np.testing.assert_array_equal(got, want)


def test_the_readme_and_the_json_have_the_figures(out: Path, small_bundle: Path) -> None:
    figures = Bundle.open(small_bundle).record("mlp")["tflite"]["float32"]
    (model,) = json.loads((out / "export.json").read_text("utf-8"))["models"]
    (variant,) = model["variants"]
    assert variant["latency_ms"] == figures["latency_ms"]
    assert variant["size_bytes"] == (out / "mlp-float32.tflite").stat().st_size > figures["size_bytes"]
    text = (out / "README.md").read_text("utf-8")
    assert f"{figures['latency_ms']['1']:.3g} ms" in text
    assert "| FULLY_CONNECTED | 2 |" in text
    assert "| input | `x` | float32 | [1, 4] |" in text


def test_the_same_export_writes_the_same_bytes(out: Path, small_bundle: Path, labels: Path, tmp_path: Path) -> None:
    export_mobile(Bundle.open(small_bundle), tmp_path / "again", ExportOptions(labels=str(labels)))
    assert (tmp_path / "again" / "SHA256SUMS").read_bytes() == (out / "SHA256SUMS").read_bytes()


def test_inspect_prints_the_metadata(out: Path) -> None:
    said = run("inspect", out / "mlp-float32.tflite").stdout
    assert "in  x: float32 [1, 4]; dims batch, dim_1" in said
    assert "labels mlp-labels.txt" in said and "files mlp-labels.txt 19 B" in said
    facts = json.loads(run("inspect", out / "mlp-float32.tflite", "--json").stdout)
    assert facts["metadata"]["name"] == "mlp"
    assert facts["details"]["weights"]["float32"] >= 4 * (4 * 8 + 8 * 3)
    assert facts["details"]["runtime"]


def test_the_command_says_what_was_written(small_bundle: Path, tmp_path: Path) -> None:
    said = run("export-mobile", small_bundle, "-o", tmp_path / "a", "--variant", "float32").stdout
    assert "mlp-float32.tflite" in said and f"Written: {tmp_path / 'a'}" in said
    facts = json.loads(run("export-mobile", small_bundle, "-o", tmp_path / "b", "--json").stdout)
    assert facts["models"][0]["variants"][0]["variant"] == "float32"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--variant", "int8"], 2, "There is no variant 'int8'"),
        (["--model", "other"], 1, "no model 'other'"),
        (["--version", "7"], 1, "has no version 7"),
        (["--labels", "missing.txt"], 2, "cannot be read"),
        (["--mean", "1"], 2, "takes no image"),
        (["--mean", "a"], 2, "is not a list of numbers"),
        (["--std", "nan"], 2, "is not a list of numbers"),
    ],
)
def test_wrong_requests_leave_nothing(
    small_bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run("export-mobile", small_bundle, "-o", tmp_path / "x", *arguments, code=code)
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    assert "exists already" in run("export-mobile", small_bundle, "-o", tmp_path / "x", code=2).output
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine"]
    (tmp_path / "x" / "mine").unlink()
    run("export-mobile", small_bundle, "-o", tmp_path / "x")  # an empty one will do


def test_what_fails_in_the_middle_leaves_nothing(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bundler.mobile.export.readme", full)
    result = run("export-mobile", small_bundle, "-o", tmp_path / "x", code=1)
    assert "There is no space left" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_as_built_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    file = copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(VerifyError, match="not the file that was built"):
        export_mobile(Bundle.open(copy), tmp_path / "x")
    file.unlink()
    with pytest.raises(VerifyError, match="cannot be read"):
        export_mobile(Bundle.open(copy), tmp_path / "x")


def test_models_without_tflite_files_are_told_what_to_do(small_bundle: Path, tmp_path: Path) -> None:
    bundle = without_variants(small_bundle, {})
    with pytest.raises(UsageError, match="has TFLite files"):
        export_mobile(bundle, tmp_path / "x")
    with pytest.raises(UsageError, match="no TFLite files of this model"):
        export_mobile(bundle, tmp_path / "x", ExportOptions(models=("mlp",)))


def without_variants(root: Path, refused: dict[str, Any]) -> Bundle:
    opened = Bundle.open(root)
    record = {**opened.record("mlp"), "tflite": {}, "tflite_refused": refused}
    return Bundle(opened.layout, Manifest(opened.manifest.spec, {"mlp": {1: record}}, opened.manifest.files))


def test_a_variant_below_its_gate_is_named_with_the_reason(small_bundle: Path) -> None:
    opened = Bundle.open(small_bundle)
    record = {**opened.record("mlp"), "tflite_refused": {"int8": {"reason": "accuracy 0.9, asked for 0.95"}}}
    bundle = Bundle(opened.layout, Manifest(opened.manifest.spec, {"mlp": {1: record}}, opened.manifest.files))
    with pytest.raises(UsageError, match=r"It was refused: accuracy 0\.9"):
        read_model(bundle, "mlp", None, ("int8",))


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"evaluation": {"value": 0.975, "pytorch": 0.98}}, "0.975 (PyTorch 0.98)"),
        ({"accuracy": {"outputs": {"y": {"sqnr_db": 31.26}, "z": {"top1": 1.0}}}}, "SQNR 31.3 dB"),
        ({"error": [{"max_rel": 1e-6}, {"max_rel": 2e-3}]}, "largest relative error 0.002"),
        ({"error": [{"problem": "shape"}]}, "not known"),
        ({}, "not known"),
    ],
)
def test_the_most_telling_figure_is_shown(figures: dict[str, Any], text: str) -> None:
    assert _accuracy(figures) == text


OUTPUTS = (TensorSpec.parse("scores=float32[1,3]"), TensorSpec.parse("boxes=float32[1,9,3]"))


def test_labels_find_their_output(labels: Path, tmp_path: Path) -> None:
    assert read_labels(str(labels), OUTPUTS[:1]) == Labels("scores", CLASSES)
    assert read_labels(f"boxes={labels}", OUTPUTS).output == "boxes"
    with pytest.raises(UsageError, match="more than one output"):
        read_labels(str(labels), OUTPUTS)
    with pytest.raises(UsageError, match="output 'no' has not so many"):
        read_labels(f"no={labels}", OUTPUTS)
    short = tmp_path / "short.txt"
    short.write_text("a\nb\n")
    with pytest.raises(UsageError, match="has 2 labels, and no output has so many"):
        read_labels(str(short), OUTPUTS)
    short.write_text("a\n\nb\n")
    with pytest.raises(UsageError, match="Line 2 of the labels is empty"):
        read_labels(str(short), OUTPUTS)
    short.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_labels(str(short), OUTPUTS)


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("x=float32[1,3,32,48]", Image(32, 48, 3, True)),
        ("x=uint8[1,32,48,3]", Image(32, 48, 3, False)),
        ("x=float32[1,1,28,28]", Image(28, 28, 1, True)),
        ("x=float32[1,28,28,1]", Image(28, 28, 1, False)),
        ("x=float32[1,64,28,28]", None),
        ("x=float32[1,3,28]", None),
        ("x=float32[batch,3,28,28]", None),
    ],
)
def test_images_are_known_by_their_channels(text: str, image: Image | None) -> None:
    assert Image.of(TensorSpec.parse(text)) == image


def image_model(text: str, **changes: Any) -> MobileModel:
    spec, output = TensorSpec.parse(text), TensorSpec.parse("scores=float32[1,3]")
    served = TensorSpec.parse("scores=float32[batch,3]")
    variant = MobileVariant("float16", Path("m-float16.tflite"), (spec,), (output,), {1: 1.0}, {"CONV_2D": 1}, "not known")
    return MobileModel("my-net.v2", 2, "net.py:make", Signature((spec,), (served,)), (variant,), **changes)


@pytest.mark.parametrize("text", ["x=float32[1,3,8,6]", "x=float32[1,8,6,3]"])
def test_normalization_stands_in_the_metadata(text: str) -> None:
    model = image_model(text, preprocessing=Preprocessing((127.5,), (127.5, 64.0, 255.0)))
    tensors = Tensors(("x",), ("scores",))
    (graph,) = model_metadata(model, model.variants[0], None, tensors)["subgraph_metadata"]
    (x,) = graph["input_tensor_metadata"]
    assert x["process_units"] == [{"options": {"NormalizationOptions": {"mean": (127.5,), "std": (127.5, 64.0, 255.0)}}}]
    assert x["stats"] == {"max": [1.0, 127.5 / 64, 0.5], "min": [-1.0, -127.5 / 64, -0.5]}
    is_last = text.endswith("3]")
    assert x["dimension_names"] == ["batch", *(("height", "width", "channels") if is_last else ("channels", "height", "width"))]
    kind = "ImageProperties" if is_last else "FeatureProperties"  # readers take an image to be channels last
    assert kind in x["content"]["content_properties"]


@pytest.mark.parametrize("text", ["x=float32[1,3,8,6]", "x=float32[1,8,6,3]"])
def test_the_python_call_prepares_pixels(text: str) -> None:
    model = image_model(text, preprocessing=Preprocessing((1.0, 2.0, 3.0), (2.0, 2.0, 2.0)))
    code = snippets(model, "m.tflite", None)["python/my_net_v2.py"]
    space: dict[str, Any] = {"__name__": "snippet", "__file__": "/x/python/y.py"}
    exec(compile(code, "snippet", "exec"), space)
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    got = space["prepare"](pixels)
    want = (pixels.astype(np.float32) - np.float32([1, 2, 3])) / 2
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], want if text.endswith("3]") else want.transpose(2, 0, 1), rtol=1e-6)


def test_normalization_that_does_not_fit_the_image_is_refused() -> None:
    from bundler.mobile.export import _normalized

    model = image_model("x=float32[1,3,8,6]")
    with pytest.raises(UsageError, match="mean has 2 numbers; the image has 3 channels"):
        _normalized(model, ExportOptions(mean=(1.0, 2.0)))
    with pytest.raises(UsageError, match="0 is no deviation"):
        _normalized(model, ExportOptions(std=(0.0,)))
    assert _normalized(model, ExportOptions(mean=(1.0,))).preprocessing == Preprocessing((1.0,), (1.0,))
    assert _normalized(model, ExportOptions()).preprocessing is None


def test_names_become_variables_of_their_own() -> None:
    texts = ("input.1=float32[1]", "input/1=int64[1]", "class=bool[1]", "x-y=uint8[2,3]", "outputs=int8[1]")
    made = arguments(tuple(map(TensorSpec.parse, texts)))
    assert [a.ident for a in made] == ["input_1", "input_1_", "class_", "x_y", "outputs_"]
    assert [a.count for a in made] == [1, 1, 1, 6, 1]
    odd = arguments((TensorSpec('a$b"', "float32", (1,)),))[0]
    assert (odd.literal, odd.kotlin_literal) == ('"a$b\\""', '"a\\$b\\""')
    with pytest.raises(UsageError, match="no call can be written"):
        arguments((TensorSpec("x", "string", (1,)),))


def test_every_type_is_called_in_every_language(tmp_path: Path) -> None:
    dtypes = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    inputs = tuple(TensorSpec(f"in.{dtype}", dtype, (2, 3)) for dtype in dtypes)
    outputs = tuple(TensorSpec(f"out.{dtype}", dtype, ()) for dtype in dtypes)
    variant = MobileVariant("int8", Path("m.tflite"), inputs, outputs, {}, {}, "not known")
    model = MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (variant,))
    made = snippets(model, "m-int8.tflite", None)
    assert set(made) == {"python/m.py", "kotlin/MModel.kt", "swift/MModel.swift", "cpp/m.cc"}
    compile(made["python/m.py"], "m.py", "exec")
    for path, text in made.items():
        assert all(f'"in.{dtype}"' in text and f"out.{dtype}" in text for dtype in dtypes), path
        for opening, closing in ("()", "{}", "[]"):
            assert text.count(opening) == text.count(closing), path
    compile_cpp(made["cpp/m.cc"], tmp_path)


def test_the_python_call_quantizes_and_the_others_say_how() -> None:
    inputs, outputs = (TensorSpec("x", "int8", (1, 4)),), (TensorSpec("y", "uint8", (1, 3)),)
    scales = {"x": (0.5, -3), "y": (0.25, 128)}
    variant = MobileVariant("int8-io", Path("m.tflite"), inputs, outputs, {}, {}, "not known", scales=scales)
    model = MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (variant,))
    made = snippets(model, "m-int8-io.tflite", None)
    space: dict[str, Any] = {"__name__": "snippet", "__file__": "/x/python/y.py"}
    exec(compile(made["python/m.py"], "snippet", "exec"), space)
    called = space["MModel"].__new__(space["MModel"])
    seen: dict[str, Any] = {}

    def answer(**given: Any) -> dict[str, Any]:
        seen.update(given)
        return {"y": np.uint8([[128, 0, 130]])}

    called._run = answer
    y = called([[0.0, 1.0, -1000.0, 1000.0]])["y"]
    assert seen["x"].dtype == np.int8 and seen["x"].tolist() == [[-3, -1, -128, 127]]
    assert y.dtype == np.float32 and y.tolist() == [[0.0, -32.0, 0.5]]
    for language in ("kotlin/MModel.kt", "swift/MModel.swift", "cpp/m.cc"):
        assert "int8 [1, 4], standing for 0.5 * (integer - -3)" in made[language]
        assert "uint8 [1, 3], standing for 0.25 * (integer - 128)" in made[language]


def test_the_cpp_call_compiles(out: Path, tmp_path: Path) -> None:
    compile_cpp((out / "cpp" / "mlp.cc").read_text("utf-8"), tmp_path)


def compile_cpp(text: str, folder: Path) -> None:
    """Against declarations of what LiteRT's headers have; a mistake in the call's form or types is found."""
    compiler = require_program("g++", "clang++", install="apt-get install g++")
    file = folder / "call.cc"
    file.write_text(text, "utf-8")
    command = [compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I", str(HEADERS), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
