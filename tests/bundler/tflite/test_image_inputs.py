"""The form in which .tflite files take images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundler.adapters.preprocessing import ImageReader
from bundler.adapters.samples import SampleFormat
from bundler.errors import UsageError
from bundler.spec.bundle_spec import TfliteSpec
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite import build_variants, contents
from bundler.tflite.calibration import RANDOM, read
from bundler.tflite.image_inputs import FileInputs, check_pixels, image_form
from bundler.tflite.runner import TfliteModel
from bundler.tflite.variants import convert, write_static
from bundler.values.image_form import ImageForm
from bundler.values.signature import Signature, TensorSpec
from tests.bundler.converters.native.oracle import native
from tests.bundler.hand_written import Converted, exported

IMAGES = {"channels": "bgr", "mean": [0.406, 0.456, 0.485], "std": [0.225, 0.224, 0.229]}
MEAN = (0.5, 0.4, 0.3)
SPEC = TfliteSpec(images=ImageSpec.model_validate(IMAGES))


def signature(*inputs: str) -> Signature:
    return Signature(tuple(map(TensorSpec.parse, inputs)), (TensorSpec.parse("y=float32[batch,4]"),))


def network(*, pads: int = 0, first: str = "Conv", channels: int = 3) -> onnx.ModelProto:
    """Return a model with a convolution, optionally behind a LeakyRelu that prevents folding, and a bias."""
    rng = np.random.default_rng(0)
    head = [helper.make_node("LeakyRelu", ["image"], ["a"], "leaky")] if first == "LeakyRelu" else []
    nodes = [
        *head,
        helper.make_node("Conv", ["a" if head else "image", "w", "b"], ["h"], "conv", pads=[pads] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["y"], "flatten"),
    ]
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, channels, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(size=4).astype(np.float32), "b"),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, 9, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )


def form_of(text: str, spec: TfliteSpec = SPEC, **options: Any) -> ImageForm | None:
    return image_form(signature(text), spec, Path(), **options)


def written(model: onnx.ModelProto, form: ImageForm, folder: Path) -> TfliteModel:
    converted = native(model)
    sizes = form.dims((1, *(int(d.dim_value) for d in model.graph.input[0].type.tensor_type.shape.dim[1:])))
    write_static(FileInputs({}, form).static(converted, {"image": sizes}), ["image"], folder / "saved_model")
    path = folder / "m.tflite"
    path.write_bytes(convert(folder / "saved_model", "float32"))
    return TfliteModel(path)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("case", "order", "operators"),
    [
        ({"pads": 0}, "bgr", {"CONV_2D", "MEAN"}),
        ({"pads": 0}, "rgb", {"CONV_2D", "MEAN"}),
        ({"pads": 1}, "bgr", {"ADD", "PAD", "CONV_2D", "MEAN"}),
        ({"pads": 1, "first": "LeakyRelu"}, "bgr", {"PAD", "CONV_2D", "MEAN", "LEAKY_RELU"}),
        ({"pads": 1, "first": "LeakyRelu"}, "rgb", {"MUL", "ADD", "PAD", "CONV_2D", "MEAN", "LEAKY_RELU"}),
    ],
)
def test_a_file_of_pixels_answers_as_the_model_does(
    case: dict[str, Any], order: str, operators: set[str], tmp_path: Path
) -> None:
    images = ImageSpec.model_validate({**IMAGES, "channels": order})
    form = image_form(signature("image=float32[batch,3,9,8]"), TfliteSpec(images=images), Path())
    assert form is not None
    pixels = np.random.default_rng(1).integers(0, 256, (9, 8, 3), np.uint8)
    model = network(**case)
    reader = ImageReader(TensorSpec.parse("image=float32[3,9,8]"), (3, 9, 8), True, images)
    (want,) = native(model)(image=reader._scaled(pixels)[None]).values()
    file = written(model, form, tmp_path)
    assert file.inputs[0].shape == (1, 9, 8, 3)
    (got,) = file({"image": pixels[None].astype(np.float32)}).values()
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)
    found = contents.count(contents.operators(tmp_path / "m.tflite"))
    assert set(found) - {"RESHAPE"} == operators


def test_the_model_s_inputs_become_the_pixels_that_they_were_made_of() -> None:
    form = form_of("image=float32[batch,3,9,8]")
    assert form is not None
    pixels = np.random.default_rng(1).integers(0, 256, (9, 8, 3), np.uint8)
    reader = ImageReader(TensorSpec.parse("image=float32[3,9,8]"), (3, 9, 8), True, SPEC.images or ImageSpec())
    call = {"image": reader._scaled(pixels)[None], "ids": np.arange(3)}
    got = FileInputs({}, form).of(call)
    np.testing.assert_allclose(got["image"], pixels[None], atol=1e-4)
    assert got["image"].dtype == np.float32 and got["ids"] is call["ids"]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("image=float32[batch,3,9,8]", {}, (1, (0, 2, 3, 1))),
        ("image=float32[batch,3,9,8]", {"layout": "keep"}, (1, None)),
        ("image=float32[batch,9,8,3]", {}, (3, None)),
        ("image=float32[batch,1,height,width]", {}, (1, (0, 2, 3, 1))),
    ],
)
def test_files_take_images_channels_last_unless_the_layout_is_kept(text: str, options: Any, expected: Any) -> None:
    spec = TfliteSpec(images=ImageSpec(channels="rgb"))
    form = form_of(text, spec, **options)
    assert form is not None and (form.axis, form.order) == expected
    assert form.takes_pixels and form.factor == pytest.approx([1 / 255] * len(form.factor))


@pytest.mark.parametrize("text", ["x=float32[batch,8]", "x=float32[batch,16,9,8]", "x=int64[batch,3,9,8]"])
def test_inputs_that_are_no_images_stay_as_they_are(text: str) -> None:
    assert form_of(text) is None
    with pytest.raises(UsageError, match="fold needs exactly one image input"):
        form_of(text, TfliteSpec(images=ImageSpec(fold=True)))


def test_nothing_changes_without_a_declared_image() -> None:
    assert form_of("image=float32[batch,3,9,8]", TfliteSpec()) is None


def test_half_precision_and_unfolded_images_are_only_moved() -> None:
    half, unfolded = (
        form_of("image=float16[batch,3,9,8]"), form_of("image=float32[batch,3,9,8]", TfliteSpec(images=ImageSpec(fold=False))),
    )  # fmt: skip
    for form in (half, unfolded):
        assert form is not None and not form.takes_pixels and form.order == (0, 2, 3, 1)
    assert form_of("image=float32[batch,3,9,8]", TfliteSpec(images=ImageSpec(fold=False)), layout="keep") is None


def test_a_mean_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tflite\.images\.mean has 2 numbers"):
        form_of("image=float32[batch,3,9,8]", TfliteSpec(images=ImageSpec(mean=(0.1, 0.2))))


def variants_of(converted: Any, folder: Path, layout: Any = None, **images: Any) -> dict[str, Any]:
    image = np.random.default_rng(0).random((40, 3, 8, 8), np.float32) - np.reshape(np.float32(MEAN), (3, 1, 1))
    np.savez(folder / "samples.npz", image=image, ids=np.arange(40 * 10).reshape(40, 10) % 20)
    spec = TfliteSpec(
        variants=("float32", "int8-io"), calibration="samples.npz", images=ImageSpec(**images), dims={"seq": 10}, min_sqnr=5.0
    )
    results = build_variants(converted, exported(folder / "m.onnx"), spec, folder, "m", base=folder, layout=layout)
    return {result.variant: result for result in results}


@pytest.mark.slow
@pytest.mark.parametrize("nhwc", [False, True])
def test_files_of_any_converter_take_pixels_and_int8_holds_them_exactly(nhwc: bool, tmp_path: Path) -> None:
    variants = variants_of(Converted(nhwc=nhwc), tmp_path, mean=MEAN, channels="bgr")
    for result in variants.values():
        assert result.inputs[0].dims == (1, 8, 8, 3)
        assert result.pixels == "image" and result.to_json()["pixels"] == "image"
    assert variants["float32"].max_rel < 1e-4
    scale = variants["int8-io"].scales["image"]
    assert (scale.scale, scale.zero_point) == (1.0, 0)
    assert variants["int8-io"].inputs[0].dtype == "uint8"


@pytest.mark.slow
def test_an_evaluate_function_passes_the_model_s_values_to_files_of_pixels(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text(
        "import numpy as np\n\ndef mean(predict):\n"
        "    rng = np.random.default_rng(0)\n"
        "    image, ids = rng.random((3, 3, 8, 8), np.float32), np.arange(30).reshape(3, 10)\n"
        "    return float(predict(image=image, ids=ids % 20)['logits'].sum())\n"
    )
    image = np.random.default_rng(0).random((40, 3, 8, 8), np.float32)
    np.savez(tmp_path / "samples.npz", image=image, ids=np.arange(40 * 10).reshape(40, 10) % 20)
    spec = TfliteSpec(variants=("float32",), images=ImageSpec(mean=(0.5,)), dims={"seq": 10}, evaluate="metrics.py:mean")
    (result,) = build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m", base=tmp_path)
    assert result.evaluation["value"] == pytest.approx(result.evaluation["pytorch"], rel=1e-4)


def test_a_folder_of_photos_makes_an_image_model(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.PNG").write_bytes(b"")
    form = image_form(signature("x=float32[n,3,9,8]"), TfliteSpec(calibration="photos"), tmp_path)
    assert form is not None and form.factor == pytest.approx((1 / 255,) * 3)


def test_calibration_samples_of_another_normalization_are_refused(tmp_path: Path) -> None:
    """Pixels of 0 to 255 for a model that is declared to take 0 to 1."""
    np.savez(tmp_path / "samples.npz", image=np.random.default_rng(0).integers(0, 256, (8, 3, 9, 8)).astype(np.float32))
    own = signature("image=float32[batch,3,9,8]")
    samples = read("samples.npz", SampleFormat(own, {"image": (1, 3, 9, 8)}), base=tmp_path)
    right, wrong = (image_form(own, TfliteSpec(images=ImageSpec(scale=scale)), tmp_path) for scale in (1.0, 1 / 255))
    check_pixels(right, samples)
    check_pixels(wrong, replace(samples, source=RANDOM))
    with pytest.raises(UsageError, match=r"samples.npz\[0\]: .* pixels from .* to 6.502e.04, not 0 to 255"):
        check_pixels(wrong, samples)
