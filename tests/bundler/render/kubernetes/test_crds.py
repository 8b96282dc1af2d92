"""crds.py: CustomResourceDefinitions are applied like by an API server: types, unknown keys, defaults, and rules in CEL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests import requirements
from tests.bundler.render.kubernetes import crds

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="common-expression-language needs Python 3.11")


def definition(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a CustomResourceDefinition of the kind Route with a schema of its spec."""
    schema = {"type": "object", "properties": {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}, "spec": spec}}
    versions = [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]
    return {"kind": "CustomResourceDefinition", "spec": {"group": "x.io", "names": {"kind": "Route"}, "versions": versions}}


@pytest.mark.parametrize(
    ("spec", "expected", "rules"),
    [
        ({"port": 80}, [], 2),
        ({"port": 80, "host": "a"}, ["Route r: $.spec: Additional properties are not allowed ('host' was unexpected)"], 0),
        ({"port": "80"}, ["Route r: $.spec.port: '80' is not of type 'integer'"], 0),
        ({"port": 81}, ["Route r: $.spec.port: fails (self != 81)"], 2),
        ({"port": 9}, ["Route r: $.spec: secure ports only (self.secure && self.port > 9)"], 2),
    ],
    ids=str,
)
def test_definitions_of_a_cluster_are_applied_with_defaults_and_rules(
    spec: dict[str, Any], expected: list[str], rules: int
) -> None:
    route = definition({
        "type": "object",
        "properties": {
            "port": {"type": "integer", "x-kubernetes-validations": [{"rule": "self != 81"}, {"rule": "self == oldSelf"}]},
            "secure": {"type": "boolean", "default": True},
        },
        "x-kubernetes-validations": [{"rule": "self.secure && self.port > 9", "message": "secure ports only"}],
    })  # fmt: skip
    requirements.require_package("cel", "pip install common-expression-language")
    item = {"apiVersion": "x.io/v1", "kind": "Route", "metadata": {"name": "r"}, "spec": spec}
    assert crds.problems(route, [item, {**item, "kind": "Other"}]) == (expected, 1, rules)


def test_definitions_are_read_from_files_and_lists(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Namespace\n---\nkind: CustomResourceDefinition\nspec: {group: a}\n---\n")
    (tmp_path / "b.yml").write_text("kind: List\nitems:\n  - kind: CustomResourceDefinition\n    spec: {group: b}\n")
    assert [item["spec"]["group"] for item in crds.definitions(tmp_path)] == ["a", "b"]
