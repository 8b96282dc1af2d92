"""The inputs and outputs of portable .tflite files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.errors import UsageError
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite import build_variants, contents
from bundler.tflite.portable import ENDS, check_fits, end_dtype, portable
from bundler.tflite.runner import TfliteModel
from bundler.tflite.variants import convert, write_signatures
from bundler.values.arrays import Array
from tests.bundler.hand_written import Converted, exported

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
IDS = np.array([[3, -1, 0, 9]])


def converted(folder: Path, functions: Mapping[str, Callable[..., Any]], **inputs: Any) -> bytes:
    """Convert functions of inputs by name; `inputs` are example arrays."""
    specs = {name: tf.TensorSpec(array.shape, array.dtype, name) for name, array in inputs.items()}
    signatures = {name: tf.function(function).get_concrete_function(**specs) for name, function in functions.items()}
    write_signatures(signatures, inputs, folder / "saved_model")
    return convert(folder / "saved_model", "float32", signatures=list(functions))


def compare(folder: Path, function: Callable[..., Any], **inputs: Array) -> tuple[bytes, dict[str, Array]]:
    """Check that the portable file has portable ends and the original's outputs; return it with its outputs."""
    original = converted(folder, {"serving_default": function}, **inputs)
    (folder / "original.tflite").write_bytes(original)
    want = TfliteModel(folder / "original.tflite")(inputs)
    file = portable(original)
    (folder / "portable.tflite").write_bytes(file)
    model = TfliteModel(folder / "portable.tflite")
    assert all(spec.dtype in ("float32", "int32", "uint8") for spec in (*model.inputs, *model.outputs))
    assert [(s.name, s.dims) for s in model.inputs] == [(s.name, s.dims) for s in TfliteModel(folder / "original.tflite").inputs]
    got = model.run_in_floats(inputs, {name: array.dtype.name for name, array in want.items()})
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)
    return file, got


def types(file: bytes) -> set[str]:
    return {kind for operator in contents.operators_of(file) for kind in (*operator.inputs, *operator.outputs)}


def count(file: bytes) -> dict[str, int]:
    return contents.count(contents.operators_of(file))


def embedding(ids: Any) -> Any:
    """Look up rows as ONNX's Gather does, which accepts negative indices."""
    return tf.gather(TABLE, tf.where(ids < 0, ids + 10, ids))


def test_ids_of_an_embedding_leave_no_int64_in_the_file(tmp_path: Path) -> None:
    file, _ = compare(tmp_path, lambda ids: {"y": embedding(ids)}, ids=IDS)
    assert "INT64" not in types(file)
    assert "CAST" not in count(file)


def test_class_index_is_int32_without_a_cast(tmp_path: Path) -> None:
    file, _ = compare(tmp_path, lambda x: {"label": tf.argmax(x, -1), "x": x * 2}, x=TABLE)
    assert count(file) == {"ARG_MAX": 1, "MUL": 1}


def test_table_of_integers_becomes_int32(tmp_path: Path) -> None:
    table = np.arange(100_000) * 7
    file, _ = compare(tmp_path, lambda ids: {"y": tf.gather(table, ids)}, ids=IDS % 10)
    assert len(file) < 4 * 100_000 + 4096  # the int64 table is gone
    assert "INT64" not in types(file)


def test_values_that_may_exceed_int32_stay_int64_inside(tmp_path: Path) -> None:
    file, _ = compare(tmp_path, lambda ids: {"y": ids * 3_000_000_000 > 4_000_000_000, "ids": ids * 2}, ids=IDS)
    assert "INT64" in types(file)
    assert count(file)["CAST"] == 3  # one of the input, one of each output


def test_casts_between_int32_and_int64_disappear(tmp_path: Path) -> None:
    def function(ids: Any, x: Any) -> dict[str, Any]:
        _, best = tf.math.top_k(x, 2)
        return {"y": tf.gather(TABLE, tf.cast(ids, tf.int32) + 1), "best": tf.cast(best, tf.int64), "z": tf.cast(ids, tf.float32)}

    file, _ = compare(tmp_path, function, ids=IDS % 8, x=TABLE)
    assert "INT64" not in types(file)


def test_bool_input_is_true_for_every_value_but_zero(tmp_path: Path) -> None:
    mask = np.array([True, False, True])
    compare(tmp_path, lambda mask: {"y": tf.cast(mask, tf.float32), "no": tf.logical_not(mask), "mask": mask}, mask=mask)
    outputs = TfliteModel(tmp_path / "portable.tflite")({"mask": np.uint8([255, 0, 1])})
    assert outputs["y"].tolist() == [1, 0, 1]
    assert outputs["no"].tolist() == [0, 1, 0]


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", ["int8", "int16", "float64"])
def test_other_types_are_cast_at_the_ends(tmp_path: Path, dtype: str) -> None:
    file, _ = compare(tmp_path, lambda x: {"y": tf.reshape(x, (4,)), "z": tf.cast(x, tf.float32)}, x=np.ones((2, 2), dtype))
    assert file


def test_loops_and_shape_operators_keep_their_answers(tmp_path: Path) -> None:
    def function(ids: Any, n: Any) -> dict[str, Any]:
        _, total = tf.while_loop(lambda i, t: i < n[0], lambda i, t: (i + 1, t + i), (tf.constant(0, tf.int64), n[0]))
        parts = tf.concat([ids[:, 1:], tf.pad(ids, [[0, 0], [1, 0]])], 1)
        chosen = tf.maximum(tf.stack([ids, ids - 2]), tf.constant(1, tf.int64))
        return {
            "total": total, "parts": tf.transpose(tf.tile(parts, [2, 1])), "one_hot": tf.one_hot(ids, 5),
            "chosen": tf.reverse(tf.broadcast_to(chosen[0], (3, 4)), [1]), "equal": tf.equal(ids, 3), "sum": tf.reduce_sum(ids),
            "sorted": tf.gather_nd(TABLE, tf.reshape(chosen[1], (4, 1))),
        }  # fmt: skip

    compare(tmp_path, function, ids=IDS, n=np.array([5]))


def test_every_signature_is_portable_and_shares_the_weights(tmp_path: Path) -> None:
    functions = {"serving_default": lambda ids: {"y": embedding(ids)}, "other": lambda ids: {"n": embedding(ids), "ids": ids}}
    original = converted(tmp_path, functions, ids=IDS)
    (tmp_path / "m.tflite").write_bytes(portable(original))
    for name in functions:
        model = TfliteModel(tmp_path / "m.tflite", signature=name)
        assert [str(spec) for spec in model.inputs] == ["ids=int32[1,4]"]
        assert {spec.dtype for spec in model.outputs} <= {"float32", "int32"}
        outputs = model({"ids": IDS.astype(np.int32)})
        np.testing.assert_array_equal(outputs["y" if name == "serving_default" else "n"], TABLE[IDS])
    assert len(portable(original)) < len(original) + 500


def test_file_that_is_portable_already_is_not_rewritten(tmp_path: Path) -> None:
    original = converted(tmp_path, {"serving_default": lambda x: {"y": x + 1}}, x=TABLE)
    assert portable(original) is original


@pytest.mark.slow
def test_built_files_keep_the_models_types_on_request(tmp_path: Path) -> None:
    spec = TfliteSpec(variants=("float32",), io="model")
    (result,) = build_variants(Converted(), exported(tmp_path / "m.onnx"), spec, tmp_path, "m")
    assert [str(s) for s in (*result.inputs[1:], *result.outputs[1:])] == ["ids=int64[1,10]", "label=int64[1]"]
    assert "model_dtypes" not in result.to_json()


def test_int8_io_has_uint8_ends_unless_int8_is_asked_for() -> None:
    specs = (TfliteSpec(), TfliteSpec(io="model"), TfliteSpec(io_type="int8"), TfliteSpec(io="model", io_type="uint8"))
    assert [spec.integer_io for spec in specs] == ["uint8", "int8", "int8", "uint8"]


def test_values_out_of_int32_are_rejected_with_the_way_out() -> None:
    check_fits({"ids": IDS, "x": TABLE, "none": np.zeros(0, np.int64)})
    with pytest.raises(UsageError, match=r"'time' has the value 1764452754000(.|\n)*--tflite-io model"):
        check_fits({"time": np.array([0, 1764452754000])})


def test_every_end_is_a_type_that_browsers_take() -> None:
    assert set(ENDS.values()) == {"int32", "uint8", "float32"}
    assert (end_dtype("int64", "portable"), end_dtype("int64", "model"), end_dtype("string", "portable")) == (
        "int32", "int64", "string",
    )  # fmt: skip
