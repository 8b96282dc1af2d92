"""The tasks of MediaPipe that read an exported file: the rules, and MediaPipe's own answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

import bundler
from bundler.adapters.tokenizer_file import read_tokenizer
from bundler.mobile import ExportOptions, export_mobile
from bundler.mobile.model import MobileModel, Preprocessing
from bundler.mobile.tasks import IMAGE_TASKS, TEXT_TASKS, kinds, tasks_of
from bundler.mobile.vocabulary import Vocabulary
from bundler.spec.signature_spec import TextSpec
from bundler.tflite.runner import TfliteModel
from bundler.validation.bundle import Bundle
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import BGR, COLORS, image_model, write_color_model, write_photos
from tests.mediapipe_tasks import Question, ask
from tests.models import timm_model

PIXELS = Preprocessing((0.0,), (1.0,))
READY = dict.fromkeys(IMAGE_TASKS, "")


def tasks(model: MobileModel, vocabulary: Vocabulary | None = None, **changes: Any) -> dict[str, str]:
    return dict(tasks_of(model, replace(model.variants[0], **changes), vocabulary))


def test_an_image_with_one_mean_and_deviation_is_ready() -> None:
    model = image_model("x=float32[1,8,6,3]", preprocessing=Preprocessing((127.5,) * 3, (127.5,)))
    assert tasks(model) | READY == tasks(model)
    assert kinds(model) == IMAGE_TASKS
    assert tasks(model)["TextClassifier"].startswith("the inputs are not input_ids")


@pytest.mark.parametrize(
    ("text", "preprocessing", "changes", "reason"),
    [
        ("x=float32[1,3,8,6]", PIXELS, {}, "channels come first; build without layout: keep"),
        ("x=float32[1,8,6,1]", PIXELS, {}, "the image is grey, and RGB is required"),
        ("x=float32[2,8,6,3]", PIXELS, {}, "x has a batch of 2"),
        ("x=int8[1,8,6,3]", PIXELS, {}, "x is int8; build with io_type: uint8"),
        ("x=float32[1,8,6,3]", None, {}, "the normalization is not known; declare tflite.images"),
        ("x=float32[1,8,6,3]", Preprocessing(channels="bgr"), {}, "the image is BGR; build with tflite.images.fold"),
        ("x=float32[1,8,6,3]", Preprocessing((0.0,), (58.0, 57.0, 57.0)), {}, "each channel has its own mean or std"),
        ("x=uint8[1,8,6,3]", PIXELS, {"scales": {"x": (0.9, 3)}}, "its integers are not the pixels"),
        ("x=float32[1,8]", None, {}, "x=float32[1,8] is not an image"),
        ("x=float32[1,8,6,3]", PIXELS, {"subgraphs": 2}, "the file has 2 subgraphs"),
        ("x=float32[1,8,6,3]", PIXELS, {"operators": {"FlexErf": 1}}, "FlexErf needs the Flex delegate"),
        ("x=float32[1,8,6,3]", PIXELS, {"outputs": (TensorSpec.parse("y=int32[1]"),)}, "y is int32"),
        (
            "x=float32[1,8,6,3]", PIXELS, {"outputs": tuple(map(TensorSpec.parse, ("y=uint8[1,3]", "z=float32[1,3]")))},
            "some outputs are uint8, and others are not",
        ),
    ],
)  # fmt: skip
def test_the_reason_why_an_image_task_cannot_read_a_file(
    text: str, preprocessing: Preprocessing | None, changes: dict[str, Any], reason: str
) -> None:
    got = tasks(image_model(text, preprocessing=preprocessing), **changes)
    assert got["ImageClassifier"].startswith(reason) and got["ImageEmbedder"].startswith(reason)


def test_uint8_that_holds_the_pixels_is_ready() -> None:
    model = image_model("x=uint8[1,8,6,3]", preprocessing=PIXELS)
    for scales in ({"x": (1.0, 0)}, {}):
        assert tasks(model, scales=scales)["ImageClassifier"] == ""
    half = image_model("x=uint8[1,8,6,3]", preprocessing=Preprocessing((127.5,), (127.5,)))
    assert tasks(half, scales={"x": (1 / 127.5, 127)})["ImageClassifier"] == ""


def test_an_embedder_takes_what_is_no_list_of_classes() -> None:
    model = image_model("x=float32[1,8,6,3]", preprocessing=PIXELS)
    got = tasks(model, outputs=(TensorSpec.parse("y=float32[1,4,4,8]"),))
    assert got["ImageEmbedder"] == "" and got["ImageClassifier"] == "y=float32[1,4,4,8] has more than one number per class"


def test_text_tasks_need_three_inputs_and_a_vocabulary() -> None:
    inputs = tuple(TensorSpec.parse(f"{name}=int32[1,16]") for name in ("input_ids", "attention_mask", "token_type_ids"))
    model = image_model("x=int32[1,16]")
    model = replace(model, variants=(replace(model.variants[0], inputs=inputs),))
    assert kinds(model) == TEXT_TASKS
    assert tasks(model)["TextClassifier"] == "the file has no vocabulary; export it with --tokenizer"
    assert tasks(model, Vocabulary(("[PAD]",), {}))["TextEmbedder"] == ""
    assert tasks(model, inputs=inputs[:2])["TextEmbedder"].startswith("the inputs are not input_ids")


def export(folder: Path, name: str, build: Mapping[str, Any], model: Sequence[Any], options: ExportOptions) -> Path:
    """Build a model, given as the first arguments of `bundler.build`, and export it."""
    bundler.build(*model, out=folder / name / "bundle", name="m", **build)
    export_mobile(Bundle.open(folder / name / "bundle"), folder / name / "out", options)
    return folder / name / "out"


def states(out: Path) -> dict[str, dict[str, str]]:
    (model,) = json.loads((out / "export.json").read_text("utf-8"))["models"]
    return {variant["file"]: variant["mediapipe"] for variant in model["variants"]}


def picture(path: Path, height: int, width: int) -> Array:
    """Write an image of the input's size, which MediaPipe does not resize."""
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    Picture.fromarray(pixels).save(path)
    return pixels


def assert_image_tasks_answer(out: Path, labels: Sequence[str] | None, image: Path, pixels: Array) -> None:
    """Assert that tasks answer as LiteRT does where the export says so, and only there."""
    questions = [Question(task, str(out / file), str(image)) for file in states(out) for task in IMAGE_TASKS]
    for question, answer in zip(questions, ask(questions), strict=True):
        file = Path(question.file)
        model = TfliteModel(file)
        taken = pixels if model.inputs[0].shape[-1] == 3 else pixels.transpose(2, 0, 1)
        (want,) = model.run_in_floats({model.inputs[0].name: taken[None].astype(model.inputs[0].dtype)}).values()
        is_same = not isinstance(answer, str) and np.allclose(_numbers(answer), want[0], atol=1e-5)
        assert is_same == (states(out)[file.name][question.task] == "ready"), (question, answer)
        if is_same and labels and question.task == "ImageClassifier":
            assert [label for label, _ in answer[0]] == list(labels)


def _numbers(answer: list[Any]) -> Array:
    return np.float32([number[1] if isinstance(number, list) else number for number in answer[0]])


@pytest.mark.slow
def test_mediapipe_reads_images_as_the_export_says(tmp_path: Path) -> None:
    model, photos = write_color_model(tmp_path / "colors.onnx"), write_photos(tmp_path / "photos")
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in COLORS), "utf-8")
    pixels = picture(tmp_path / "image.png", 8, 10)
    variants = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")
    build = {"tflite": variants, "calibration": str(photos)}
    options = ExportOptions(labels=str(tmp_path / "labels.txt"))
    out = export(tmp_path, "folded", {**build, "images": {**BGR, "fold": True}}, [model], options)
    assert all(each["ImageClassifier"] == each["ImageEmbedder"] == "ready" for each in states(out).values())
    assert_image_tasks_answer(out, COLORS, tmp_path / "image.png", pixels)
    for name, images, layout in (
        ("bgr", BGR, None), ("kept", {**BGR, "fold": True}, "keep"), ("rgb", {**BGR, "channels": "rgb"}, None),
    ):  # fmt: skip
        out = export(tmp_path, name, {**build, "tflite": ("float32",), "images": images, "layout": layout}, [model], options)
        assert all(each["ImageClassifier"] != "ready" for each in states(out).values())
        assert_image_tasks_answer(out, COLORS, tmp_path / "image.png", pixels)


@pytest.mark.slow
def test_mediapipe_reads_a_mobilenet_with_the_normalization_of_imagenet(tmp_path: Path) -> None:
    real, rng = timm_model("mobilenetv3_small_100"), np.random.default_rng(0)
    np.savez(tmp_path / "samples.npz", x=rng.uniform(-1.8, 2.2, (16, 3, 224, 224)).astype(np.float32))
    build = {
        "tflite": ("float32", "int8-io"), "calibration": str(tmp_path / "samples.npz"), "min_sqnr": 5.0,
        "images": {"resize": 232, "crop": "center", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        "inputs": real.specs,
    }  # fmt: skip
    out = export(tmp_path, "real", build, [real.module, real.inputs["x"]], ExportOptions())
    pixels = picture(tmp_path / "image.png", 224, 224)
    assert all(each["ImageClassifier"] == "ready" for each in states(out).values())
    assert_image_tasks_answer(out, None, tmp_path / "image.png", pixels)


WORDS = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "good", "bad", "film", "was", "##ly", "very", "real", "##s", "not",
    ",", ".", "!", "it", "is",
)  # fmt: skip


def text_export(folder: Path) -> Path:
    import torch
    from torch import nn

    class Classifier(nn.Module):
        """Averages embeddings of the tokens, as a small stand-in for BERT with its three inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.words, self.types, self.head = nn.Embedding(len(WORDS), 16), nn.Embedding(2, 16), nn.Linear(16, 2)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            weights = attention_mask[..., None].float()
            states = (self.words(input_ids) + self.types(token_type_ids)) * weights
            return {"logits": self.head(torch.tanh(states.sum(1) / weights.sum(1)))}

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, len(WORDS), (32, 12))
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    np.savez(folder / "samples.npz", **arrays)  # type: ignore[arg-type]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), "utf-8")
    (folder / "labels.txt").write_text("bad\ngood\n", "utf-8")
    build = {
        "inputs": [f"{name}=int64[batch,12]" for name in arrays], "tflite": ("float32", "dynamic", "int8"),
        "calibration": str(folder / "samples.npz"), "min_sqnr": 5.0,
    }  # fmt: skip
    options = ExportOptions(labels=str(folder / "labels.txt"), tokenizer=str(folder / "vocab.txt"))
    examples = tuple(torch.from_numpy(array[:2]) for array in arrays.values())
    return export(folder, "text", build, [Classifier().eval(), examples], options)


@pytest.mark.slow
def test_mediapipe_reads_sentences_for_a_model_with_the_inputs_of_bert(tmp_path: Path) -> None:
    out = text_export(tmp_path)
    tokenizer = read_tokenizer(TextSpec(tokenizer=str(tmp_path / "vocab.txt")), Path()).tokenizer
    texts = ["The film was REALLY good!", "it is a bad film, unknown words", "the " * 30]
    questions = [Question(task, str(out / file), text=text) for file in states(out) for task in TEXT_TASKS for text in texts]
    assert len(questions) == 18
    for question, answer in zip(questions, ask(questions), strict=True):
        assert states(out)[Path(question.file).name][question.task] == "ready"
        ids = tokenizer.encode(question.text).ids
        ids = ids if len(ids) <= 12 else [*ids[:11], WORDS.index("[SEP]")]
        padded = np.int32([ids + [0] * (12 - len(ids))])
        call = {"input_ids": padded, "attention_mask": np.int32(padded > 0), "token_type_ids": np.zeros_like(padded)}
        np.testing.assert_allclose(_numbers(answer), TfliteModel(Path(question.file))(call)["logits"][0], atol=1e-6)
        if question.task == "TextClassifier":
            assert [label for label, _ in answer[0]] == ["bad", "good"]


@pytest.mark.slow
def test_mediapipe_reads_sentences_for_a_model_of_word_ids(tmp_path: Path) -> None:
    import torch
    from torch import nn

    class Averages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(6, 8), nn.Linear(8, 2)

        def forward(self, words: Any) -> Any:
            return {"logits": self.head(torch.tanh(self.words(words).mean(1)))}

    torch.manual_seed(0)
    words = {"<PAD>": 0, "<START>": 1, "<UNKNOWN>": 2, "good": 3, "film": 4, "don't": 5}
    (tmp_path / "words.txt").write_text("".join(f"{word} {index}\n" for word, index in words.items()), "utf-8")
    build = {"inputs": ["words=int64[batch,6]"], "tflite": ("float32",)}
    model = [Averages().eval(), torch.zeros(2, 6, dtype=torch.int64)]
    out = export(tmp_path, "words", build, model, ExportOptions(tokenizer=str(tmp_path / "words.txt")))
    (file,) = states(out)
    for task, text in ((task, text) for task in TEXT_TASKS for text in ("good film, don't", "Good   film. good good good good")):
        (answer,) = ask([Question(task, str(out / file), text=text)])
        ids = [1, *(words.get(word, 2) for word in re.split(r"[^\w']+", text))][:6]
        want = TfliteModel(out / file)({"words": np.int32([ids + [0] * (6 - len(ids))])})["logits"][0]
        np.testing.assert_allclose(_numbers(answer), want, atol=1e-6)
        assert states(out)[file][task] == "ready"
