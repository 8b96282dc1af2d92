"""Config files: values survive text proto, TensorFlow Serving's classes read it, wrong values are explained."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from serving.config.model_server import (
    AllVersions,
    BatchingParameters,
    Latest,
    ModelServerConfig,
    MonitoringConfig,
    RequestLogging,
    ServedModel,
    Specific,
)
from serving.errors import ConfigError

TWO_MODELS = ModelServerConfig(
    (
        ServedModel("digits", "/models/digits", Specific((1, 2)), {"stable": 1, "canary": 2}),
        ServedModel(
            "minilm", "gs://bucket/minilm", Latest(2), logging=RequestLogging("file", "/logs/minilm", 0.25)
        ),
        ServedModel("all", "/models/all", AllVersions()),
    )
)


SPLITTING = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"


def test_models_config_survives_text() -> None:
    assert ModelServerConfig.from_text(TWO_MODELS.to_text()) == TWO_MODELS


def test_tensorflow_servings_own_classes_read_models_config() -> None:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig as Reference

    read = text_format.Parse(TWO_MODELS.to_text(), Reference())
    digits = read.model_config_list.config[0]
    assert (digits.name, digits.base_path, digits.model_platform) == (
        "digits",
        "/models/digits",
        "tensorflow",
    )
    assert list(digits.model_version_policy.specific.versions) == [1, 2]
    assert dict(digits.version_labels) == {"stable": 1, "canary": 2}
    assert ModelServerConfig.from_proto(read) == TWO_MODELS


POLICIES = st.one_of(
    st.builds(Latest, st.integers(1, 2**31)),
    st.just(AllVersions()),
    st.lists(st.integers(1, 2**62), min_size=1, max_size=4, unique=True).map(lambda v: Specific(tuple(v))),
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(TEXT, TEXT, POLICIES, st.dictionaries(TEXT, st.integers(-(2**62), 2**62), max_size=3))
def test_any_name_path_policy_and_label_survive_text(name, path, policy, labels) -> None:  # type: ignore[no-untyped-def]
    config = ModelServerConfig((ServedModel(name, f"/{path}", policy, labels),))
    assert ModelServerConfig.from_text(config.to_text()) == config


def test_a_config_written_by_hand_gets_the_servers_defaults() -> None:
    text = (
        'model_config_list: { config: { name: "m", base_path: "/m", model_type: TENSORFLOW } }  # a comment'
    )
    assert ModelServerConfig.from_text(text).models == (ServedModel("m", "/m", Latest(1)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_config_list { foo: 1 }", 'no field named "foo"'),
        ("", "holds nothing"),
        (
            'model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }',
            "not absolute",
        ),
        ('model_config_list { config { base_path: "/m" model_platform: "tensorflow" } }', "no name"),
        ('model_config_list { config { name: "m" base_path: "/m" } }', "no model_platform"),
        ('model_config_list { config { name: "m" base_path: "/m" model_platform: "caffe" } }', "'caffe'"),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow"'
            " model_version_policy { specific { } } } }",
            r"versions \[\]",
        ),
    ],
)
def test_a_wrong_models_config_is_explained(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        ModelServerConfig.from_text(text, where="models.config")
    assert caught.value.where == "models.config"
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_two_models_of_one_name_are_refused() -> None:
    model = ServedModel("digits", "/models/digits")
    with pytest.raises(ConfigError, match="'digits' stands twice"):
        ModelServerConfig((model, model))


def test_a_label_must_name_a_served_version() -> None:
    config = ModelServerConfig((ServedModel("digits", "/models/digits", labels={"stable": 1}),))
    config.check_labels({"digits": [1]})
    with pytest.raises(ConfigError, match="'stable' of 'digits' names version 1, not served") as caught:
        config.check_labels({"digits": [1, 2]})
    assert "versions served: 2" in str(caught.value)


def test_a_policy_must_name_versions_that_are_there() -> None:
    config = ModelServerConfig((ServedModel("digits", "/models/digits", Specific((1, 4))),))
    with pytest.raises(ConfigError, match="no version 4"):
        config.check_labels({"digits": [1, 2]})


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (Latest(), (9,)),
        (Latest(2), (3, 9)),
        (Latest(7), (1, 3, 9)),
        (AllVersions(), (1, 3, 9)),
        (Specific((9, 1)), (1, 9)),
    ],
)
def test_versions_that_a_policy_serves(
    policy: Latest | AllVersions | Specific, served: tuple[int, ...]
) -> None:
    assert ServedModel("m", "/m", policy).served([9, 1, 3]) == served


def test_batching_survives_text_and_absent_is_not_zero() -> None:
    parameters = BatchingParameters(
        max_batch_size=32,
        batch_timeout_micros=0,
        num_batch_threads=2,
        thread_pool_name="batches",
        allowed_batch_sizes=(8, 32),
        pad_variable_length_inputs=True,
    )
    assert "batch_timeout_micros {\n}" in parameters.to_text()
    assert "max_enqueued_batches" not in parameters.to_text()
    assert BatchingParameters.from_text(parameters.to_text()) == parameters


def test_batching_written_by_hand() -> None:
    text = (
        "max_batch_size { value: 4 }\nbatch_timeout_micros { value: 200000 }\nallowed_batch_sizes: [2, 4]\n"
    )
    assert BatchingParameters.from_text(text) == BatchingParameters(4, 200000, allowed_batch_sizes=(2, 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_batch_size { value: 4 } allowed_batch_sizes: [2, 3]", "is 3, and max_batch_size is 4"),
        ("allowed_batch_sizes: [2, 4]", "max_batch_size is 1000"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2, 4]", r"allowed_batch_sizes is \[4, 2, 4\]"),
        ("num_batch_threads { }", "num_batch_threads is 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1"),
        ("enable_large_batch_splitting { value: true }", "without max_execution_batch_size"),
        (f"max_batch_size {{ value: 8 }} {SPLITTING} allowed_batch_sizes: 4", "is 4, and max_batch_size is 8"),
        (f"max_batch_size {{ value: 2 }} {SPLITTING}", "max_execution_batch_size is 4, and max_batch_size is 2"),
        ("max_batch_size: 4", "max_batch_size"),
    ],
)
def test_wrong_batching_is_explained(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        BatchingParameters.from_text(text, where="batching.config")
    assert caught.value.where == "batching.config"


def test_with_splitting_the_allowed_sizes_end_with_the_largest_request() -> None:
    made = BatchingParameters(
        64, allowed_batch_sizes=(8, 16, 64), enable_large_batch_splitting=True, max_execution_batch_size=16
    )
    assert BatchingParameters.from_text(made.to_text()) == made


def test_monitoring_survives_text() -> None:
    made = MonitoringConfig(path="/metrics")
    assert MonitoringConfig.from_text(made.to_text()) == made
    assert (
        MonitoringConfig.from_text("prometheus_config { enable: true }").path
        == "/monitoring/prometheus/metrics"
    )
    with pytest.raises(ConfigError, match="'metrics'"):
        MonitoringConfig.from_text('prometheus_config { enable: true, path: "metrics" }')
