"""models.config: values survive text proto, TensorFlow Serving's own classes read it, wrong values are explained."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.request_logging import RequestLogging
from serving.config.version_policy import AllVersions, Latest, Specific
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


def test_a_config_survives_text() -> None:
    assert ModelServerConfig.from_text(TWO_MODELS.to_text()) == TWO_MODELS


def test_tensorflow_servings_own_classes_read_it() -> None:
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


def test_a_handwritten_config_gets_the_servers_defaults() -> None:
    text = (
        'model_config_list: { config: { name: "m", base_path: "/m", model_type: TENSORFLOW } }  # a comment'
    )
    assert ModelServerConfig.from_text(text).models == (ServedModel("m", "/m", Latest(1)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_config_list { foo: 1 }", 'no field named "foo"'),
        ("", "got nothing"),
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
            r"each once, got \[\]",
        ),
    ],
)
def test_a_wrong_models_config_is_explained(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        ModelServerConfig.from_text(text, where="models.config")
    assert caught.value.where == "models.config"
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_two_models_with_the_same_name_are_refused() -> None:
    model = ServedModel("digits", "/models/digits")
    with pytest.raises(ConfigError, match="'digits' is listed twice"):
        ModelServerConfig((model, model))


def test_a_label_must_point_to_a_served_version() -> None:
    config = ModelServerConfig((ServedModel("digits", "/models/digits", labels={"stable": 1}),))
    config.check_labels({"digits": [1]})
    with pytest.raises(ConfigError, match="'stable' of 'digits' points to version 1, which is not served") as caught:
        config.check_labels({"digits": [1, 2]})
    assert "served versions: 2" in str(caught.value)


def test_a_policy_must_name_existing_versions() -> None:
    config = ModelServerConfig((ServedModel("digits", "/models/digits", Specific((1, 4))),))
    with pytest.raises(ConfigError, match="no version 4"):
        config.check_labels({"digits": [1, 2]})
