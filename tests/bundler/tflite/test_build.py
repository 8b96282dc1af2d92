"""Every variant is made and run, keeps the model's names, and is compared with PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.errors import TfliteError, UsageError
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite import VariantResult, build_variants, check_request, exchange, make_variants
from bundler.tflite.runner import TfliteModel
from bundler.validation import parity
from bundler.values.comparison import SAVED_MODEL
from bundler.values.signature import TensorSpec
from tests.bundler.hand_written import SIGNATURE, Converted, exported, weights

ALL = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8", "mix")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    np.savez(path, image=rng.random((40, 3, 8, 8), np.float32), ids=rng.integers(0, 20, (40, 10)))
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> dict[str, VariantResult]:
    """All variants of the model, batch 1."""
    folder = tmp_path_factory.mktemp("tflite")
    spec = TfliteSpec(variants=ALL, calibration=samples.name, float_layers=("FULLY_CONNECTED",))
    variants = build_variants(Converted(), exported(folder / "m.onnx"), spec, folder, "m", base=samples.parent)
    assert sorted(p.name for p in folder.iterdir()) == sorted(["m.onnx", *(f"m-{v}.tflite" for v in ALL)])
    return {result.variant: result for result in variants}


@pytest.mark.parametrize("variant", ALL)
def test_names_dtypes_and_shapes_match_pytorch(results: dict[str, VariantResult], variant: str) -> None:
    result = results[variant]
    floats = "uint8" if variant == "int8-io" else "float32"
    assert result.inputs == (
        TensorSpec("image", floats, (1, 3, 8, 8)), TensorSpec("ids", "int32", (1, 10)),
    )  # fmt: skip
    assert result.outputs == (TensorSpec("logits", floats, (1, 4)), TensorSpec("label", "int32", (1,)))
    assert result.to_json()["model_dtypes"] == {"ids": "int64", "label": "int64"}
    assert set(result.scales) == ({"image", "logits"} if variant == "int8-io" else set())


@pytest.mark.compat
@pytest.mark.parametrize(
    ("variant", "error"),
    [
        ("float32", 1e-5), ("float16", 5e-3), ("dynamic", 0.1), ("int8", 0.3), ("int8-io", 0.3), ("int16x8", 0.1), ("mix", 0.3),
    ],
)  # fmt: skip
def test_error_against_pytorch_is_within_the_variants_limit(
    results: dict[str, VariantResult], variant: str, error: float
) -> None:
    logits = [(draw, d) for draw, d in results[variant].differences if d.output == "logits"]
    draws = ["example", "random", "calibration-0", "calibration-1", "calibration-2", "calibration-3"]
    assert [draw for draw, _ in logits] == draws
    assert all(d.problem is None for _, d in logits)
    assert max(d.max_rel for _, d in logits) < error
    assert set(results[variant].rms_error) == {"logits"}  # labels are integers
    assert 0 < results[variant].rms_error["logits"] < error
    if variant in ("float16", "int8"):  # dynamic does not quantize weights as small as these
        assert max(d.max_rel for _, d in logits) > 1e-5


def test_size_latency_and_operators_are_measured(results: dict[str, VariantResult]) -> None:
    for result in results.values():
        assert result.size_bytes == result.path.stat().st_size
        assert set(result.latency_ms) == {1, 2}
        assert all(0 < ms < 1000 for ms in result.latency_ms.values())
        assert result.load_ms is not None and 0 < result.load_ms < 1000
    assert results["float32"].operators["CONV_2D"] == 1
    assert results["float32"].float_operators["CONV_2D"] == 1
    assert "CONV_2D" not in results["int8"].float_operators
    assert results["int8"].operators["CONV_2D"] == 1
    assert results["int8"].calibration == {
        "source": "samples.npz", "rule": "an .npz file, samples on the first axis", "samples": 40, "available": 40,
        "inputs": results["int8"].calibration["inputs"],
        **{key: results["int8"].calibration[key] for key in ("sha256", "files", "files_sha256")},
    }  # fmt: skip
    assert results["int8"].calibration["files"] == 1 and len(results["int8"].calibration["sha256"]) == 64
    assert results["int8"].calibration["inputs"]["ids"]["max"] == 19
    for result in results.values():
        data = json.loads(json.dumps(result.to_json(), allow_nan=False))
        if result.variant != "int16x8":  # XNNPACK runs nothing of int16x8
            assert data["delegation"]["share"] > 0
        assert data["delegation"]["share"] < 1  # XNNPACK runs neither the embedding nor ArgMax
        assert data["delegation"]["left"]["ARG_MAX"] == 1
        assert data["file"] == result.path.name
        floats = "uint8" if result.variant == "int8-io" else "float32"
        assert data["inputs"] == [f"image={floats}[1,3,8,8]", "ids=int32[1,10]"]


def test_parity_gates_only_float32(
    results: dict[str, VariantResult], tmp_path: Path
) -> None:
    Converted().save(tmp_path / "1")
    references = parity.run_references([exported(tmp_path / "m.onnx")])
    report = parity.check(references, tmp_path / "1", tolerance=1e-4, variants=list(results.values()))
    assert report.passed
    gated = {row.runtime: row.gated for row in report.rows if row.runtime.startswith("tflite")}
    assert gated == {f"tflite-{variant}": variant == "float32" for variant in ALL}
    verdicts = {(line.runtime, line.output): line.verdict for line in report.summary()}
    assert verdicts[SAVED_MODEL, "logits"] == "passed"
    assert verdicts["tflite-float32", "logits"] == "passed"
    assert verdicts["tflite-int8", "logits"] == "reported"


def test_a_wrong_float32_file_fails_parity(tmp_path: Path) -> None:
    Converted().save(tmp_path / "1")
    signature = exported(tmp_path / "m.onnx")
    wrong = Converted(head=weights()["head"] * np.float32(1.01))
    variants = build_variants(wrong, signature, TfliteSpec(variants=("float32",)), tmp_path, "m")
    report = parity.check(parity.run_references([signature]), tmp_path / "1", tolerance=1e-4, variants=variants)
    assert {row.runtime for row in report.failures} == {"tflite-float32"}
    assert "tflite-float32, serving_default, draw example: output 'logits'" in str(report.error())


@pytest.mark.slow
def test_batch_and_other_dims_have_the_requested_sizes(tmp_path: Path) -> None:
    spec = TfliteSpec(variants=("float32",), batch=3, dims={"seq": 6})
    (result,) = build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert [spec.dims for spec in result.inputs] == [(3, 3, 8, 8), (3, 6)]
    assert result.max_rel < 1e-5


@pytest.mark.slow
def test_a_large_rms_error_is_noted(tmp_path: Path) -> None:
    wrong = Converted(head=weights()["head"] * np.float32(1.5))
    spec = TfliteSpec(variants=("float32",), min_sqnr=3)
    (result,) = build_variants(wrong, exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert result.rms_error["logits"] == pytest.approx(0.5, rel=1e-4)
    assert result.notes == (
        "output logits: the float32 file differs from PyTorch by 50% (rms); "
        "measure its accuracy on real data, or use float16",
    )


@pytest.mark.slow
def test_layout_nhwc_is_kept(tmp_path: Path, samples: Path) -> None:
    (tmp_path / "sizes.py").write_text(SIZES.replace("(10, 6)", "(10, 10)"))
    spec = TfliteSpec(
        variants=("float32", "int8", "int8-io"), calibration=str(samples), io_type="uint8",
        evaluate=f"{tmp_path}/sizes.py:both_sizes", max_drop=2,
    )  # fmt: skip
    variants = build_variants(Converted(nhwc=True), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert [str(result.inputs[0]) for result in variants] == [
        f"image={t}[1,8,8,3]" for t in ("float32", "float32", "uint8")
    ]
    assert variants[0].max_rel < 1e-5
    assert variants[0].evaluation["drop"] == 0  # predict takes PyTorch's axis order
    for result in variants[1:]:
        assert max(d.max_rel for _, d in result.differences if d.output == "logits") < 0.3


def test_error_for_int8_without_calibration_names_the_option() -> None:
    with pytest.raises(UsageError, match=r"int8 TFLite variant needs calibration data(.|\n)*--calibration"):
        check_request(TfliteSpec(variants=("int8",)))
    check_request(TfliteSpec(variants=("float16",)))


def test_error_names_a_dim_that_the_model_does_not_have(tmp_path: Path) -> None:
    spec = TfliteSpec(variants=("float32",), dims={"length": 6})
    with pytest.raises(UsageError, match=r"names 'length'(.|\n)*choose one of: batch, seq"):
        build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")


def test_error_shows_a_size_that_pytorch_rejects(tmp_path: Path) -> None:
    spec = TfliteSpec(variants=("float32",), dims={"seq": 15})
    with pytest.raises(UsageError, match=r"PyTorch rejects the sizes(.|\n)*ids\[1, 15\]"):
        build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")


class NotInTflite(Converted):
    """Has two operators without a TFLite builtin."""

    def __call__(self, image: Any, ids: Any) -> dict[str, Any]:
        outputs = super().__call__(image, ids)
        with tf.name_scope("decoder/layer3"):
            unsupported = tf.math.erfinv(outputs["logits"] * 0.01)
            unsupported += tf.linalg.det(tf.eye(3) * tf.reduce_sum(unsupported))
        return outputs | {"logits": outputs["logits"] + unsupported}


@pytest.mark.slow
def test_error_names_all_operators_without_a_builtin_and_their_layers(
    tmp_path: Path, samples: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = TfliteSpec(variants=("float32", "int8"), calibration=str(samples))
    with pytest.raises(TfliteError) as caught:
        build_variants(NotInTflite(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    text = str(caught.value)
    assert "2 TFLite variants failed" in text
    assert "TFLite has no builtin for these operators" in text
    for named in ("tf.Erfinv in decoder/layer3/", "tf.MatrixDeterminant in decoder/layer3/", "float32", "int8"):
        assert named in text
    assert len(text.splitlines()) < 12
    assert capfd.readouterr().err == ""


class NoInt8Kernel(Converted):
    """TFLite computes a cumulative sum only in float."""

    def __call__(self, image: Any, ids: Any) -> dict[str, Any]:
        outputs = super().__call__(image, ids)
        with tf.name_scope("tail"):
            return outputs | {"logits": tf.cumsum(outputs["logits"], 1) - tf.cumsum(outputs["logits"], 1, exclusive=True)}


@pytest.mark.slow
def test_operator_without_int8_kernel_is_named_for_int8_io_and_stays_float_in_int8(tmp_path: Path, samples: Path) -> None:
    spec = TfliteSpec(variants=("int8-io", "int8"), calibration=str(samples))
    outcome = make_variants(NoInt8Kernel(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    (rejected,) = outcome.rejected
    assert rejected.variant == "int8-io"
    assert "no int8 kernel for these operators.\n  CUMSUM in tail" in str(rejected.error)
    assert not rejected.below_gate
    (int8,) = outcome.variants
    assert int8.float_operators["CUMSUM"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m-int8.tflite", "m.onnx"]


class NeedsFlex(Converted):
    """Has an operator that TFLite runs only through the Flex delegate."""

    def __call__(self, image: Any, ids: Any) -> dict[str, Any]:
        outputs = super().__call__(image, ids)
        scale = 1 + tf.square(tf.reduce_mean(image))
        return outputs | {"logits": outputs["logits"] * tf.linalg.det(tf.eye(3) * scale) / scale**3}


@pytest.mark.slow
def test_model_with_flex_operators_cannot_be_calibrated(tmp_path: Path, samples: Path) -> None:
    spec = TfliteSpec(variants=("int8", "float32"), calibration=str(samples), select_tf_ops=True)
    outcome = make_variants(NeedsFlex(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert [result.variant for result in outcome.variants] == ["float32"]
    assert "calibration has to run the model" in str(outcome.rejected[0].error)
    assert "MatrixDeterminant needs the Flex delegate" in str(outcome.rejected[0].error)


class NoInt16Kernel(Converted):
    """TensorFlow writes the difference's square in int16, for which LiteRT has no kernel."""

    def __call__(self, image: Any, ids: Any) -> dict[str, Any]:
        outputs = super().__call__(image, ids)
        with tf.name_scope("norm"):
            reverse = tf.reverse(outputs["logits"], [1])
            return outputs | {"logits": tf.math.squared_difference(outputs["logits"], reverse)}


@pytest.mark.slow
def test_error_names_an_operator_that_litert_cannot_run_in_int16(tmp_path: Path, samples: Path) -> None:
    spec = TfliteSpec(variants=("int16x8", "int8"), calibration=str(samples), min_sqnr=-100)
    outcome = make_variants(NoInt16Kernel(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    (rejected,) = outcome.rejected
    assert re.match(r"LiteRT cannot compute SQUARED_DIFFERENCE of INT16 in \S+ of the int16x8 file: ", rejected.error.what)
    assert rejected.error.where is None  # the file no longer exists
    assert [result.variant for result in outcome.variants] == ["int8"]


@pytest.mark.slow
def test_file_with_flex_operators_is_published_with_notes_but_cannot_be_evaluated(tmp_path: Path) -> None:
    spec = TfliteSpec(variants=("float32",), select_tf_ops=True)
    (result,) = build_variants(NeedsFlex(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert result.operators["FlexMatrixDeterminant"] == 1
    assert [str(spec) for spec in result.outputs] == ["logits=float32[1,4]", "label=int32[1]"]
    assert (result.latency_ms, result.differences) == ({}, ())
    assert result.notes[0].startswith("TensorFlow's own kernels compute MatrixDeterminant (select_tf_ops): the app needs")
    assert result.notes[1].startswith("not run and not compared with PyTorch")
    (tmp_path / "sizes.py").write_text(SIZES)
    spec = TfliteSpec(variants=("float32",), select_tf_ops=True, evaluate=f"{tmp_path}/sizes.py:both_sizes")
    with pytest.raises(TfliteError, match=r"cannot be evaluated here: it needs the Flex delegate \(MatrixDeterminant\)"):
        build_variants(NeedsFlex(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")


SIZES = """
import numpy as np

def both_sizes(predict):
    images = np.random.default_rng(0).random((5, 3, 8, 8), np.float32)
    answers = [predict(image=images, ids=np.arange(5 * n).reshape(5, n) % 20)["label"] for n in (10, 6)]
    assert [labels.shape for labels in answers] == [(5,), (5,)]
    return float(sum(labels.sum() for labels in answers))

def unknown_size(predict):
    return float(predict(image=np.zeros((5, 3, 8, 8), np.float32), ids=np.zeros((5, 7), np.int64))["label"].sum())
"""


def test_additional_shapes_are_signatures_that_share_the_weights(
    tmp_path: Path, samples: Path, results: dict[str, VariantResult]
) -> None:
    (tmp_path / "sizes.py").write_text(SIZES)
    spec = TfliteSpec(
        variants=("float32", "int8"), calibration=str(samples), shapes={"short": {"batch": 2, "seq": 6}},
        evaluate=f"{tmp_path}/sizes.py:both_sizes", max_drop=2,
    )  # fmt: skip
    variants = build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    for result, error in zip(variants, (1e-5, 0.3), strict=True):
        assert [spec.dims for spec in result.inputs] == [(1, 3, 8, 8), (1, 10)]
        assert result.signatures["short"]["inputs"] == ["image=float32[2,3,8,8]", "ids=int32[2,6]"]
        assert result.signatures["short"]["outputs"] == ["logits=float32[2,4]", "label=int32[2]"]
        differences = [d for draw, d in result.differences if draw.startswith("short/") and d.output == "logits"]
        assert len(differences) == 6 if result.calibration else len(differences) >= 2
        assert max(d.max_rel for d in differences) < error
        assert TfliteModel(result.path, signature="short").inputs[0].dims == (2, 6)
        assert result.size_bytes < results[result.variant].size_bytes + 8000  # a second graph, but shared weights
    assert not [name for name in variants[1].float_operators if name in ("CONV_2D", "FULLY_CONNECTED", "GATHER")]
    assert variants[0].evaluation["drop"] == 0


def test_invalid_shapes_are_rejected(tmp_path: Path, samples: Path) -> None:
    spec = TfliteSpec(variants=("float32",), shapes={"short": {"length": 6}})
    with pytest.raises(UsageError, match=r"tflite\.shapes\.short names 'length'"):
        build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    spec = TfliteSpec(variants=("int16x8",), calibration=str(samples), shapes={"short": {"seq": 6}})
    with pytest.raises(UsageError, match=r"int16x8 cannot be combined with tflite\.shapes"):
        check_request(spec)
    (tmp_path / "sizes.py").write_text(SIZES)
    spec = TfliteSpec(variants=("float32",), evaluate=f"{tmp_path}/sizes.py:unknown_size")
    with pytest.raises(UsageError, match=r"ids\[5, 7\], but the TFLite file takes .*ids=int32\[1,10\](.|\n)*tflite\.shapes"):
        build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")


def test_runner_rejects_other_names_dtypes_and_files(
    results: dict[str, VariantResult], tmp_path: Path
) -> None:
    model = TfliteModel(results["float32"].path)
    good = {"image": np.zeros((1, 3, 8, 8), np.float32), "ids": np.zeros((1, 10), np.int32)}
    assert set(model(good)) == set(SIGNATURE.output_names)
    for bad in (
        {"image": good["image"]},
        good | {"ids": good["ids"].astype(np.int64)},
        good | {"image": np.zeros((2, 3, 8, 8), np.float32)},
    ):
        with pytest.raises(TfliteError, match=r"The file takes .*image=float32\[1,3,8,8\]"):
            model(bad)
    (tmp_path / "no.tflite").write_bytes(b"not a model at all")
    with pytest.raises(TfliteError, match="LiteRT cannot run the file"):
        TfliteModel(tmp_path / "no.tflite")


@pytest.mark.slow
def test_converter_crash_is_an_error_and_the_other_variants_are_made(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_WORKER", "tests.bundler.tflite.crashing_worker")
    spec = TfliteSpec(variants=("float16", "int8", "dynamic"), calibration=str(samples))
    with pytest.raises(TfliteError) as caught:
        build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    text = str(caught.value)
    assert "1 TFLite variant failed (made: float16, dynamic)" in text
    assert (
        "The process building the int8 file with TensorFlow's TFLite converter was ended by SIGSEGV. "
        "Its last output: quantizer: no such loop"
    ) in text
    assert "leave int8 out of --tflite" in text


@pytest.mark.slow
def test_file_for_an_old_runtime_has_versions_that_it_has_or_is_rejected(samples: Path, tmp_path: Path) -> None:
    """tflite-runtime 2.14 has no FULLY_CONNECTED with a scale for each channel of its weights, so `dynamic` has one for all."""
    target = "tflite-runtime==2.14"
    spec = TfliteSpec(variants=("dynamic", "int16x8"), calibration=samples.name, target_runtime=target)
    outcome = make_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m", base=samples.parent)
    (result,) = outcome.variants
    assert result.requirements is not None and result.requirements.minimum["tflite-runtime"] == "2.14.0"
    assert result.to_json()["runtime"]["minimum"] == {"litert": "1.0.1", "tflite-runtime": "2.14.0"}
    (rejected,) = outcome.rejected
    assert "tflite-runtime 2.14.0 cannot run the int16x8 TFLite file" in rejected.error.what
    assert not (tmp_path / "m-int16x8.tflite").exists()


def test_unknown_target_runtime_is_refused_before_the_build() -> None:
    with pytest.raises(UsageError, match="unknown runtime 'onnx'"):
        check_request(TfliteSpec(variants=("float32",), target_runtime="onnx==1.0"))
