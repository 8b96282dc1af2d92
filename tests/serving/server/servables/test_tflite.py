"""A model.tflite that tfbundle did not build: signatures, errors, and when the SavedModel is served instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import Client, Server
from serving.errors import RequestError
from serving.protocol.messages import message
from serving.protocol.status import Code, StatusError
from serving.protocol.tflite_file import pack_signatures, read_metadata, unpack_signatures
from serving.server.servables.tflite import TfliteOptions, TfliteServable
from tests.serving.server.recordings import MODELS


@pytest.fixture
def folder(content: bytes, tmp_path: Path) -> Path:
    version_folder = tmp_path / "lite" / "1"
    version_folder.mkdir(parents=True)
    (version_folder / "model.tflite").write_bytes(content)
    return version_folder


def loaded(folder: Path) -> TfliteServable:
    return TfliteServable.load(str(folder), TfliteOptions())


def test_file_without_signatures_serves_its_tensors_under_their_names(folder: Path) -> None:
    (name, signature), *others = loaded(folder).signatures.items()
    assert (name, others) == ("serving_default", [])
    assert signature.method_name == "tensorflow/serving/predict"
    assert list(signature.inputs) == ["x"] and len(signature.outputs) == 1
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 4]
    assert signature.inputs["x"].dtype == 1


def test_file_is_served_without_a_saved_model_and_resized_for_each_request(folder: Path) -> None:
    with Server(folder.parent, prefer_tflite=True) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        for rows in (1, 5, 2, 5):
            x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
            (answer,) = client.predict("lite", x=x).values()
            assert answer.dtype == np.float32
            np.testing.assert_allclose(answer, 2 * x + 1, rtol=1e-6)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("array", "status", "text"),
    [
        (np.ones((1, 4)), "INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided"),
        (np.ones((1, 4), np.int8), "INVALID_ARGUMENT", "Expects arg[0] to be float but int8 is provided"),
        (np.array([b"a"], object), "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (np.ones((1, 5), np.float32), "INTERNAL", "Failed to allocate tensors"),
        (np.ones(4, np.float32), "INTERNAL", "Failed to allocate tensors"),
        (np.float32(1), "INTERNAL", "Failed to allocate tensors"),
    ],
)
def test_wrong_input_is_refused_and_the_next_call_is_answered(
    folder: Path, array: Any, status: str, text: str
) -> None:
    with Server(folder.parent, prefer_tflite=True) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        with pytest.raises(RequestError) as refused:
            client.predict("lite", x=np.asarray(array))
        assert refused.value.status == status
        assert text in refused.value.what
        (answer,) = client.predict("lite", x=np.ones((3, 4), np.float32)).values()
        np.testing.assert_array_equal(answer, np.full((3, 4), 3, np.float32))


def test_a_request_that_needs_terabytes_is_refused_and_the_next_one_is_answered(tmp_path: Path) -> None:
    import tensorflow as tf

    def pairs(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(x[:, None] * x[None, :] * x[:, None], 1)

    function = tf.function(pairs, input_signature=[tf.TensorSpec([None], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    servable = loaded(tmp_path)
    signature = servable.signatures["serving_default"]
    [entry], [fetch] = signature.inputs.values(), signature.outputs.values()
    with pytest.raises(StatusError) as refused:
        servable.run({entry.name: np.ones(2_000_000, np.float32)}, [fetch.name])
    assert refused.value.code == Code.INTERNAL
    [answer] = servable.run({entry.name: np.arange(3, dtype=np.float32)}, [fetch.name])
    np.testing.assert_allclose(answer, [0, 2, 8])


def test_batch_without_rows_is_answered(folder: Path) -> None:
    servable = loaded(folder)
    signature = servable.signatures["serving_default"]
    (output,) = signature.outputs.values()
    (answer,) = servable.run({signature.inputs["x"].name: np.empty((0, 4), np.float32)}, [output.name])
    assert answer.shape == (0, 4) and answer.dtype == np.float32


def test_saved_model_is_served_if_tflite_is_missing_or_not_preferred(
    folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "rows"
    shutil.copytree(MODELS / "rows" / "1", base / "1")
    x = np.ones((2, 4), np.float32)
    for prefer in (True, False):
        with Server(base, prefer_tflite=prefer) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
            np.testing.assert_array_equal(*client.predict("rows", x=x, signature="single").values(), x)
        shutil.copy(folder / "model.tflite", base / "1")
    with Server(base, prefer_tflite=True) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        np.testing.assert_array_equal(*client.predict("rows", x=x).values(), 2 * x + 1)


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0TFL3" + b"\xff" * 200, b"no flatbuffer at all"])
def test_damaged_file_fails_to_load(folder: Path, damage: bytes) -> None:
    (folder / "model.tflite").write_bytes(damage)
    with pytest.raises(StatusError) as failed:
        loaded(folder)
    assert failed.value.code in (Code.INVALID_ARGUMENT, Code.INTERNAL)
    assert failed.value.message.startswith("Cannot build")


def definition() -> Any:
    signature = message("tensorflow.SignatureDef")(method_name="tensorflow/serving/predict")
    signature.inputs["a"].name, signature.inputs["a"].dtype = "x:0", 1
    signature.inputs["a"].tensor_shape.dim.add(size=-1)
    return signature


def test_signatures_survive_the_metadata_entry() -> None:
    packed = pack_signatures({"b": definition(), "a": definition()})
    assert unpack_signatures(packed) == {"a": definition(), "b": definition()}
    for broken in (b"", b"\x01", packed[:-3], packed[5:]):
        with pytest.raises(ValueError, match="Cannot parse signature def"):
            unpack_signatures(broken)


def test_signature_whose_metadata_has_a_zero_byte_is_refused() -> None:
    scalar = definition()
    scalar.outputs["y"].tensor_shape.SetInParent()
    with pytest.raises(ValueError, match="a shape without dims"):
        pack_signatures({"a": scalar})


def test_signature_with_unknown_tensors_fails_to_load(folder: Path) -> None:
    from bundler.tflite.flatbuffer import add_metadata

    file = folder / "model.tflite"
    original = file.read_bytes()
    wrong, legacy = definition(), definition()
    wrong.inputs["a"].name = "z:0"
    for signature, fits in ((legacy, True), (wrong, False)):
        file.write_bytes(add_metadata(original, {"signature_defs_metadata": pack_signatures({"s": signature})}))
        if fits:  # the file's tensor is `x`: the suffix is what early converters left out
            assert loaded(folder).signatures["s"].inputs["a"].name == "x"
            continue
        with pytest.raises(StatusError, match="Signature input a references an unknown tensor") as failed:
            loaded(folder)
        assert failed.value.code is Code.INTERNAL


def test_metadata_of_another_file_type_is_refused() -> None:
    with pytest.raises(ValueError, match="identifier TFL3"):
        read_metadata(b"PK\x03\x04")
