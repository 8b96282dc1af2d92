"""The shipped descriptors are up to date, complete, quick to load, and do not clash with TensorFlow's own."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache

import pytest
from google.protobuf import descriptor_pb2, text_format

from serving.protocol import extract, messages

NEEDED = (
    "tensorflow.serving.PredictRequest", "tensorflow.serving.PredictResponse",
    "tensorflow.serving.GetModelMetadataRequest", "tensorflow.serving.GetModelMetadataResponse",
    "tensorflow.serving.GetModelStatusRequest", "tensorflow.serving.GetModelStatusResponse",
    "tensorflow.serving.ReloadConfigRequest", "tensorflow.serving.ReloadConfigResponse",
    "tensorflow.serving.SignatureDefMap", "tensorflow.serving.ModelServerConfig",
    "tensorflow.serving.PlatformConfigMap", "tensorflow.serving.PredictionLog",
    "tensorflow.serving.ClassificationRequest", "tensorflow.serving.RegressionResponse",
    "tensorflow.serving.MultiInferenceRequest", "tensorflow.serving.SessionRunRequest",
    "tensorflow.serving.MonitoringConfig", "tensorflow.serving.SSLConfig",
    "tensorflow.serving.BatchingParameters", "tensorflow.TensorProto", "tensorflow.Example",
    "tensorflow.SignatureDef", "tensorflow.SavedModel", "tensorflow.MetaGraphDef", "google.protobuf.Any",
)  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_a_message_round_trips(name: str) -> None:
    proto = messages.message(name)()
    assert proto.DESCRIPTOR.full_name == name
    assert type(proto).FromString(proto.SerializeToString()) == proto


def test_services_have_the_methods_of_tensorflow_serving() -> None:
    def methods(name: str) -> dict[str, str]:
        return {m.name: m.input_type.full_name for m in messages.service(name).methods}

    assert methods(messages.PREDICTION_SERVICE) == {
        "Classify": "tensorflow.serving.ClassificationRequest",
        "Regress": "tensorflow.serving.RegressionRequest",
        "Predict": "tensorflow.serving.PredictRequest",
        "MultiInference": "tensorflow.serving.MultiInferenceRequest",
        "GetModelMetadata": "tensorflow.serving.GetModelMetadataRequest",
    }
    assert methods(messages.MODEL_SERVICE) == {
        "GetModelStatus": "tensorflow.serving.GetModelStatusRequest",
        "HandleReloadConfigRequest": "tensorflow.serving.ReloadConfigRequest",
    }


def test_the_added_config_messages_read_text_of_tensorflow_serving() -> None:
    batching = text_format.Parse(
        "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4 "
        "thread_pool_name { value: 'b' }",
        messages.serving_message("BatchingParameters")(),
    )
    assert (batching.max_batch_size.value, list(batching.allowed_batch_sizes)) == (4, [2, 4])
    assert batching.SerializeToString() == b"\x0a\x02\x08\x04\x2a\x03\x0a\x01b\x32\x02\x02\x04"
    config = messages.serving_message("MonitoringConfig")
    monitoring = text_format.Parse("prometheus_config { enable: true, path: '/m' }", config())
    assert monitoring.SerializeToString() == b"\x0a\x06\x08\x01\x12\x02/m"


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="NoSuchMessage"):
        messages.serving_message("NoSuchMessage")


def test_the_shipped_file_matches_the_installed_packages() -> None:
    if extract.installed_versions() != extract.EXTRACTED_FROM:
        pytest.skip(f"shipped for {extract.EXTRACTED_FROM}, installed are {extract.installed_versions()}")
    assert extract.DESCRIPTORS.read_bytes() == extract.extract(), "run `python -m serving.protocol.extract`"


def test_the_shipped_messages_have_every_field_of_the_installed_ones() -> None:
    installed = descriptor_pb2.FileDescriptorSet.FromString(extract.extract())
    for file in installed.file:
        if not file.name.startswith("tensorflow_serving/"):
            continue
        for wanted in file.message_type:
            shipped = messages.pool().FindMessageTypeByName(f"{file.package}.{wanted.name}").fields_by_name
            for field in wanted.field:
                assert shipped[field.name].number == field.number, f"{wanted.name}.{field.name}"
                assert shipped[field.name].type == field.type, f"{wanted.name}.{field.name}"


def test_loading_takes_under_50_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, message = messages._shared_pool.__wrapped__, messages.message.__wrapped__
    times = []
    for _ in range(3):
        # Other tests keep the pool and the classes that they have.
        monkeypatch.setattr(messages, "_shared_pool", cache(pool))
        monkeypatch.setattr(messages, "message", cache(message))
        start = time.perf_counter()
        messages.serving_message("PredictRequest")()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.parametrize("first", [pytest.param("ours", marks=pytest.mark.slow), "tensorflow's"])
def test_both_registries_work_in_one_process(first: str) -> None:
    imports = [
        "from serving.protocol.messages import serving_message; serving_message('PredictRequest')",
        "from tensorflow_serving.apis import predict_pb2",
    ]
    use = [
        "data = serving_message('PredictRequest')(model_spec={'name': 'm'}).SerializeToString()",
        "assert predict_pb2.PredictRequest.FromString(data).model_spec.name == 'm'",
    ]
    _run("; ".join([*(imports if first == "ours" else imports[::-1]), *use]))


def test_the_messages_do_not_import_tensorflow() -> None:
    _run(
        "import sys; from serving.protocol.messages import serving_message as m; m('PredictRequest')();"
        "assert not {'tensorflow', 'torch', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )


def _run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
