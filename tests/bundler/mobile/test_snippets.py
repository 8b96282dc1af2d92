"""The code of an export: its golden tests run or compile, and fail on wrong data."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.mobile.metadata import Labels
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.values.signature import Signature, TensorSpec
from tests.bundler.mobile.models import TREES, assert_cpp_compiles, image_model, run_golden_test, write_code
from tests.requirements import require_package, require_program

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
KOTLIN_API = Path(__file__).parent / "kotlin_api"


@pytest.fixture(scope="module")
def every_type(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code for a model with inputs and outputs of all types, one variant of which is quantized."""
    inputs, outputs = (
        tuple(TensorSpec(f"{side}.{dtype}", dtype, shape) for dtype in DTYPES) for side, shape in (("in", (2, 3)), ("out", ()))
    )
    plain = MobileVariant("float32", Path("m.tflite"), inputs, outputs, {}, {}, "not known")
    scales = {f"{side}.{dtype}": (0.0371, 3) for side in ("in", "out") for dtype in ("int16", "int8", "uint8")}
    quantized = MobileVariant("int8-io", Path("m.tflite"), inputs, outputs, {}, {}, "not known", scales=scales)
    model = MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (plain, quantized))
    return write_code(model, None, tmp_path_factory.mktemp("types") / "out")


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code for a model that takes grey images, channels last, of which one side is enlarged and one reduced."""
    model = image_model(
        "x=float32[1,9,40,1]", preprocessing=Preprocessing((12.5,), (99.0,), (11, 47), True, "lanczos", "rgb")
    )
    return write_code(model, Labels("scores", ("no", "maybe", "yes")), tmp_path_factory.mktemp("grey") / "out")


@pytest.mark.parametrize("language", ["python", "js", "cpp"])
def test_golden_test_passes(language: str, colors: Path) -> None:
    passed, text = run_golden_test(language, colors, "colors")
    assert passed, text


@pytest.mark.parametrize("language", ["python", "js", pytest.param("cpp", marks=pytest.mark.slow)])
def test_golden_test_passes_for_files_that_take_pixels(language: str, pixels: Path) -> None:
    passed, text = run_golden_test(language, pixels, "colors")
    assert passed, text


@pytest.mark.parametrize("language", ["js", pytest.param("cpp", marks=pytest.mark.slow)])
def test_golden_test_passes_for_all_types_and_for_grey_images(language: str, every_type: Path, grey: Path) -> None:
    for folder, name in ((every_type, "m"), (grey, "my_net_v2")):
        passed, text = run_golden_test(language, folder, name)
        assert passed, text


@pytest.mark.parametrize("language", ["python", "js", pytest.param("cpp", marks=pytest.mark.slow)])
def test_golden_test_fails_on_another_image(language: str, colors: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(colors, tmp_path / "out"))
    image = out / "golden/colors/image.rgb"
    pixels = bytearray(image.read_bytes())
    pixels[len(pixels) // 2] ^= 0x40
    image.write_bytes(pixels)
    passed, text = run_golden_test(language, out, "colors")
    assert not passed
    assert {"python": "AssertionError", "js": "AssertionError", "cpp": "not as in the golden data"}[language] in text


@pytest.mark.parametrize("tree", [TREES[0], pytest.param(TREES[1], marks=pytest.mark.slow)])
def test_cpp_program_compiles_with_the_headers_of_litert_and_tensorflow(tree: str, colors: Path) -> None:
    assert_cpp_compiles(colors / "cpp" / "colors.cc", tree)


@pytest.mark.slow
def test_kotlin_code_compiles_and_its_golden_test_passes(
    colors: Path, pixels: Path, every_type: Path, grey: Path, tmp_path: Path
) -> None:
    """The declarations in kotlin_api/ name their sources."""
    kotlinc = require_program("kotlinc", install="npm install kotlin-compiler, with its bin/ on PATH")
    java = require_program("java", install="apt-get install default-jre-headless")
    for folder, name in ((colors, "ColorsModel"), (pixels, "ColorsModel"), (every_type, "MModel"), (grey, "MyNetV2Model")):
        jar = tmp_path / f"{folder.parent.name}.jar"
        sources = [str(path) for path in (*(folder / "kotlin").glob("*.kt"), *KOTLIN_API.glob("*.kt"))]
        command = [kotlinc, *sources, "-include-runtime", "-d", str(jar)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        command = [java, "-cp", str(jar), f"{name}GoldenTestKt", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "0 failed\n"), done.stderr


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code for a model whose variants have float32, int8 and uint8 inputs and outputs."""
    model, variants = image_model("x=float32[1,4]"), []
    for name, dtype in (("float32", "float32"), ("int8-io", "int8"), ("int16x8", "uint8")):
        specs = (TensorSpec("x", dtype, (1, 4)),), (TensorSpec("scores", dtype, (1, 3)),)
        scales = {} if dtype == "float32" else {"x": (0.5, 3), "scores": (0.25, 1)}
        variants.append(MobileVariant(name, Path("m.tflite"), *specs, {}, {}, "not known", scales=scales))
    return write_code(replace(model, variants=tuple(variants)), None, tmp_path_factory.mktemp("integers") / "out")


def test_variants_that_a_compiled_model_cannot_take_are_named(every_type: Path, integers: Path) -> None:
    assert not (every_type / "kotlin/MModelCompiled.kt").exists()
    text = (integers / "kotlin/MyNetV2ModelCompiled.kt").read_text("utf-8")
    assert "Accelerator.GPU" in text and "these variants have other types: int16x8." in text


SWIFT_API = {"invoke(with:)", "output(named:)"}
"""What the code calls on a SignatureRunner (LiteRT, tflite/swift/Sources/SignatureRunner.swift, 2026-07-21, which is TensorFlow's
tensorflow/lite/swift). It has no `invoke()`; `Interpreter` has that, without signatures. `Tensor.DataType` (Tensor.swift) has no
int8, and `output(named:)` throws for it."""


def test_swift_code_calls_only_what_tensorflow_lite_has(colors: Path, integers: Path) -> None:
    text = (colors / "swift/ColorsModel.swift").read_text("utf-8")
    calls = {f"{name}({label})" for name, label in re.findall(r"\brunner\.(\w+)\((\w+:)", text)}
    assert calls == SWIFT_API
    assert len(re.findall(r"\brunner\.\w+", text)) == len(calls)
    assert 'Interpreter(modelPath: path, options: options).signatureRunner(with: "serving_default")' in text
    text = (integers / "swift/MyNetV2Model.swift").read_text("utf-8")
    assert "cannot read the outputs of int8-io;" in text


@pytest.mark.slow
def test_swift_code_has_no_syntax_errors(colors: Path, pixels: Path, every_type: Path, grey: Path) -> None:
    """No registry has a Swift compiler for this machine, so a parser of the language reads the code."""
    tree_sitter = require_package("tree_sitter", "pip install tree-sitter")
    grammar = require_package("tree_sitter_swift", "pip install tree-sitter-swift")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    for path in (path for folder in (colors, pixels, every_type, grey) for path in (folder / "swift").glob("*.swift")):
        assert not parser.parse(path.read_bytes()).root_node.has_error, path
