"""Strings that break formats, in every place that takes one: refused clearly, or the same string in every artifact."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bundler.bundle.manifest import Manifest
from bundler.cli.output import print_error
from bundler.errors import SpecError, UsageError
from bundler.render import RenderContext, RenderedModel, docker, kubernetes, tf_serving
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.fields import INT64, SpecField
from bundler.spec.options import spec_fields
from bundler.spec.signature_spec import SENTENCES
from bundler.spec.template import Answers, spec_text
from bundler.spec.yaml_file import read_yaml_file
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.monitoring import MonitoringConfig
from serving.config.request_logging import RequestLogging
from serving.texts import is_printable
from tests.bundler.render.conftest import DIGITS
from tests.faults.hostile import RENDERED, STRINGS, TEXTS, document, documents, string_fields
from tests.faults.shapes import shapes

MODEL = "x"  # hostile.documents uses it as the key of a mapping
SIGNATURES = {"serving_default": DIGITS}
BASE: dict[str, dict[str, Any]] = {
    "serving": {"labels": {MODEL: {"stable": 1}}, "versions": {MODEL: [1, 2]}, "monitoring_path": "/metrics", "batching": True},
    "kubernetes": {
        "namespace": "space", "name": "objects", "cpu": "3", "memory": "3Gi",
        "models_image": "registry.example.com:5000/models:7",
        "host": "host.example.com", "gateway": "space/gate", "ingress_class": "class", "tls_secret": "secret",
        "volume_image": "registry.example.com/volume:7", "pull_secret": "registry",
        "components": ["gateway", "ingress", "canary", "autoscaling", "disruption-budget", "metrics", "service-monitor",
                       "alerts", "dashboard", "network-policy", "topology-spread", "gpu", "tls", "models-volume"],
    },
    "docker": {"image": "registry.example.com/serving", "tag": "1.2", "digest": "sha256:" + "0" * 64},
}  # fmt: skip
BUCKET = {"storage_uri": "s3://bucket/models", "components": ["models-bucket", "canary"]}


def context_of(sections: dict[str, Any]) -> RenderContext:
    spec = parse_spec(sections, where="bundle.yaml")
    return RenderContext("demo", spec, (RenderedModel(MODEL, (1, 2), 2**20, SIGNATURES),))


def rendered(sections: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Render the parts that the settings go into, and return the structure of each file."""
    context = context_of(sections)
    for part in (tf_serving, kubernetes, docker):
        part.render(context, folder)
    if context.spec.serving.monitoring:
        text = (folder / "serving" / "monitoring.config").read_text("utf-8")
        assert MonitoringConfig.from_text(text).path == context.spec.serving.monitoring_path
    text = (folder / "serving" / "models.config").read_text("utf-8")
    (served,) = ModelServerConfig.from_text(text).models
    assert served.labels == context.spec.serving.labels.get(MODEL, {})
    return shapes(folder)


def with_document(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the base settings with one value replaced."""
    ((section, values),) = changes.items()
    merged = {**BASE[section], **(BUCKET if "storage_uri" in values else {}), **values}
    return {**BASE, section: merged}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The structure of the files for harmless values of the same settings."""
    known: dict[str, dict[str, Any]] = {}

    def structure(changes: dict[str, Any], text: str) -> dict[str, Any]:
        ((section, values),) = changes.items()
        ((_, value),) = values.items()
        if section == "kubernetes" and isinstance(value, dict):  # a section of its own: the same keys with a harmless text
            changed = {section: replaced(values, text)}
            if (known_as := json.dumps(changed)) not in known:
                known[known_as] = rendered(with_document(changed), tmp_path_factory.mktemp("usual"))
            return known[known_as]
        key = next(key for key in ("storage_uri", "labels", "versions", "gateway", "") if key in values or not key)
        key = "" if key == "gateway" and "/" in values[key] else key  # with a namespace, as in BASE
        if key not in known:
            usual = {"labels": {MODEL: {"other": 1}}, "versions": {MODEL: [1]}, "gateway": "gate", **BUCKET}
            changed = {section: {key: usual[key]}} if key else {section: {}}
            known[key] = rendered(with_document(changed), tmp_path_factory.mktemp("usual"))
        return known[key]

    return structure


def replaced(value: Any, text: str) -> Any:
    """Return a value with a harmless word in place of a text."""
    if isinstance(value, dict):
        return {replaced(key, text): replaced(member, text) for key, member in value.items()}
    if isinstance(value, list):
        return [replaced(member, text) for member in value]
    return "harmless" if value == text else value


def assert_clear(error: UsageError, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that an error says something, and that no character of it acts on a terminal."""
    assert error.what and "Unexpected" not in error.what and len(error.what) < 2000
    print_error(error.what, where=error.where, fix=error.fix)
    assert all(map(is_printable, capsys.readouterr().err.splitlines()))


@pytest.mark.sample(5)
@pytest.mark.parametrize("field", string_fields(), ids=lambda field: ".".join(field.path))
def test_every_string_of_bundle_yaml_is_refused_clearly_or_kept(
    field: SpecField, usual: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_strings(field, RENDERED, usual, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("field", string_fields(), ids=lambda field: ".".join(field.path))
def test_every_string_that_is_kept_changes_no_structure(
    field: SpecField, usual: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_strings(field, STRINGS, usual, tmp_path, capsys)


def check_strings(
    field: SpecField,
    to_render: Sequence[str],
    usual: Callable[..., dict[str, Any]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = 0
    for number, text in enumerate(STRINGS):
        for place, data in enumerate(documents(field, text)):
            try:
                spec = parse_spec(data, where="bundle.yaml")
            except SpecError as exc:
                assert_clear(exc, capsys)
                continue
            assert is_printable(text) or field.name in SENTENCES
            plain = spec.model_dump(mode="json")
            assert json.dumps(text) in json.dumps(plain)
            assert Manifest.from_bytes(Manifest(plain).to_bytes(), where="x").spec == plain
            kept += 1
            if field.path[0] == "models" or text not in to_render:
                continue
            try:
                got = rendered(with_document(data), folder / f"{number}-{place}")
            except SpecError as exc:  # a model or version that does not exist
                assert_clear(exc, capsys)
                continue
            assert replaced(got, text) == usual(data, text), text  # it may be a key
    assert kept < len(STRINGS) * len(list(documents(field, "x")))


PATTERNED = [field for field in string_fields() if any(hasattr(mark, "pattern") for mark in field.info.metadata)]


@pytest.mark.slow
@pytest.mark.parametrize("field", PATTERNED, ids=lambda field: ".".join(field.path))
def test_strings_that_a_pattern_allows_change_no_structure(
    field: SpecField, usual: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pattern = next(mark.pattern for mark in field.info.metadata if hasattr(mark, "pattern"))

    @settings(max_examples=50, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True).filter(lambda text: not text.endswith("\n")))
    def check(text: str) -> None:
        data = document(field.path, text)
        try:
            parse_spec(data, where="bundle.yaml")
        except SpecError:
            return
        if field.path[0] != "models":
            assert rendered(with_document(data), tmp_path_factory.mktemp("rendered")) == usual(data, text)

    check()


@given(TEXTS, st.sampled_from(string_fields()))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_string_ends_in_an_unexpected_error(capsys: pytest.CaptureFixture[str], text: str, field: SpecField) -> None:
    for data in documents(field, text):
        try:
            parse_spec(data, where="bundle.yaml")
        except SpecError as exc:
            assert_clear(exc, capsys)


NUMBERS = (
    10**30, -(10**30), 10**400, 10**5000, 2**31, 2**63, -1, 0, 1e999, -1e999, float("nan"), 1.5,
    True, "9" * 5000, "1e999", [], {},
)  # fmt: skip


def number_fields() -> list[SpecField]:
    return [field for field in spec_fields() if re.search("number", field.type_text) and field.section is None]


@pytest.mark.parametrize("field", number_fields(), ids=lambda field: ".".join(field.path))
def test_every_number_of_bundle_yaml_has_bounds(field: SpecField, capsys: pytest.CaptureFixture[str]) -> None:
    for number in NUMBERS:
        for value in (number, [number], {"x": number}, {"x": {"y": number}}, {"x": [number]}):
            data = document(field.path, value)
            try:
                spec = parse_spec(data, where="bundle.yaml")
            except SpecError as exc:
                assert_clear(exc, capsys)
                continue
            for part in flat(spec.model_dump(mode="json")):
                assert not isinstance(part, float) or abs(part) < float("inf")
                assert not isinstance(part, int) or abs(part) <= INT64


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from flat(member)
    else:
        yield value


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_text_protos_read_every_string_back(name: str, path: str, label: str, prefix: str) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in (name, path, label, prefix)]
    name, path, label, prefix = (text or "x" for text in texts)
    model = ServedModel(name, f"/{path}", labels={label: 1}, logging=RequestLogging(label, prefix, 0.5))
    config = ModelServerConfig((model,))
    assert ModelServerConfig.from_text(config.to_text()) == config
    monitoring = MonitoringConfig(path=f"/{path}")
    assert MonitoringConfig.from_text(monitoring.to_text()) == monitoring


@given(TEXTS, TEXTS, TEXTS)
@settings(deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_commented_bundle_yaml_reads_every_answer_back(tmp_path: Path, name: str, source: str, calibration: str) -> None:
    for answers in (Answers(name="net", source=source or "x", calibration=calibration), Answers(name=name or "net")):
        try:
            text = spec_text(answers)
        except SpecError:
            continue
        (tmp_path / "bundle.yaml").write_text(text, "utf-8")
        (model,) = read_yaml_file(tmp_path / "bundle.yaml")["models"]
        assert (model["name"], model["source"]) == (answers.name, answers.source)
        assert (model.get("tflite") or {}).get("calibration") == (answers.calibration or None)
