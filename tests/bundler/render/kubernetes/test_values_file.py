"""values.yaml and README.md of the chart: each value has its description, and the schema knows each value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import kubernetes
from bundler.render.kubernetes import chart
from bundler.render.kubernetes.values_file import readme_text, values_text
from bundler.spec import pod_spec
from tests.bundler.render.conftest import make_context

SCHEMA = json.loads((kubernetes.TREE / "chart" / "values.schema.json").read_text())


def leaves(properties: dict[str, dict[str, object]], prefix: str = "") -> set[str]:
    """Return the paths of all values that have a description."""
    found = set()
    for key, entry in properties.items():
        if "description" in entry:
            found |= {f"{prefix}{key}"} | leaves(entry.get("properties", {}), f"{prefix}{key}.")  # type: ignore[arg-type]
    return found


def test_values_are_those_of_the_schema_and_stay_what_they_are() -> None:
    values = chart.values(make_context())
    text = values_text(SCHEMA, values, "demo")
    assert YAML(typ="safe").load(text) == json.loads(json.dumps(values))
    assert set(values) == set(SCHEMA["properties"]) - {"global"}
    assert max(map(len, text.splitlines())) <= 130


def test_every_value_has_its_description_above_it_and_in_the_table() -> None:
    values = chart.values(make_context())
    text, table = values_text(SCHEMA, values, "demo"), readme_text(SCHEMA, values, "demo")
    words = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
    paths = leaves(SCHEMA["properties"]) - {"global"}
    assert len(paths) > 100
    for path in paths:
        entry = {"properties": SCHEMA["properties"]}
        for key in path.split("."):
            entry = entry["properties"][key]
        assert str(entry["description"]) in words, path
        assert f"| `{path}` |" in table
    assert "| `replicaCount` | `2` | Number of pods." in table


def test_a_value_without_a_description_is_an_error() -> None:
    with pytest.raises(KeyError, match="does not describe replicas"):
        values_text(SCHEMA, {"replicas": 2}, "demo")


def test_the_readme_of_a_bundle_names_its_chart(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    text = (tmp_path / "k8s" / "chart" / "README.md").read_text()
    assert text.startswith("# demo\n") and "helm test demo" in text


def json_schema(shape: Any) -> dict[str, Any]:
    """Return a shape of bundle.yaml as a JSON Schema."""
    if isinstance(shape, dict):
        properties = {key: json_schema(part) for key, part in shape.items()}
        return {"type": "object"} | ({"additionalProperties": False, "properties": properties} if shape else {})
    if isinstance(shape, list):
        return {"type": "array", "items": json_schema(shape[0])}
    if isinstance(shape, tuple):
        return {"enum": list(shape)}
    return {"type": {str: "string", int: "integer", bool: "boolean"}[shape]}


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("tolerations", [pod_spec.TOLERATION]), ("affinity", pod_spec.AFFINITY), ("env", [pod_spec.ENV_VAR]),
        ("envFrom", [pod_spec.ENV_FROM]), ("volumes", [pod_spec.VOLUME]), ("volumeMounts", [pod_spec.VOLUME_MOUNT]),
        ("podSecurityContext", pod_spec.POD_SECURITY), ("securityContext", pod_spec.CONTAINER_SECURITY),
    ],
)  # fmt: skip
def test_helm_accepts_the_same_keys_of_the_kubernetes_api_as_bundle_yaml(key: str, shape: Any) -> None:
    found = {name: value for name, value in SCHEMA["properties"][key].items() if name != "description"}
    if "items" in found:
        found["items"] = {name: value for name, value in found["items"].items() if name != "required"}
    assert found == json_schema(shape)
