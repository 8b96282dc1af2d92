"""kubernetes.pod: the keys of the Kubernetes API, and messages that name a wrong one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes_validate import utils

from bundler.errors import SpecError
from bundler.spec import pod_spec
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.kubernetes_spec import METRIC
from tests.bundler.render.kubernetes.cluster import VERSIONS

SHAPES = {
    "core.v1.Toleration": pod_spec.TOLERATION,
    "core.v1.Affinity": pod_spec.AFFINITY,
    "core.v1.EnvVar": pod_spec.ENV_VAR,
    "core.v1.EnvFromSource": pod_spec.ENV_FROM,
    "core.v1.Volume": pod_spec.VOLUME,
    "core.v1.VolumeMount": pod_spec.VOLUME_MOUNT,
    "core.v1.PodSecurityContext": pod_spec.POD_SECURITY,
    "core.v1.SecurityContext": pod_spec.CONTAINER_SECURITY,
    "autoscaling.v2.MetricSpec": METRIC,
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_keys_are_those_of_the_newest_kubernetes(name: str) -> None:
    version = VERSIONS[-1]
    text = utils.schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)
    definitions = (json.loads(text) if isinstance(text, str) else text)["$defs"]
    assert_shape(SHAPES[name], definitions[f"io.k8s.api.{name}"], definitions)


def assert_shape(shape: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Check that the keys of a shape are all keys of a type, and that the kinds of their values agree."""
    if reference := schema.get("$ref"):
        schema = definitions[reference.rpartition("/")[2]]
    kinds = schema.get("type", "object")
    if isinstance(shape, dict):
        assert "object" in kinds
        if shape:
            assert set(shape) == set(schema["properties"])
            for key, part in shape.items():
                assert_shape(part, schema["properties"][key], definitions)
    elif isinstance(shape, list):
        assert "array" in kinds
        assert_shape(shape[0], schema["items"], definitions)
    else:
        expected = "string" if isinstance(shape, tuple) else {str: "string", int: "integer", bool: "boolean"}[shape]
        assert expected in kinds


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        ({"annotations": {"a/b": 8501}}, "kubernetes.pod.annotations.a/b: 8501 is not a string"),
        ({"labels": {"a b": "c"}}, "'a b' is not the key of a label or an annotation; e.g. example.com/team"),
        ({"labels": {"a": "c c"}}, "'c c' is not the value of a label, which has at most 63 characters; e.g. team-a"),
        ({"labels": {"app.kubernetes.io/name": "x"}}, "tfbundle sets app.kubernetes.io/name itself; choose another key"),
        ({"tolerations": {"key": "x"}}, "is not a list"),
        ({"tolerations": [{"keyy": "x"}]}, "kubernetes.pod.tolerations: 0: unknown key 'keyy'; did you mean 'key'?"),
        ({"tolerations": [{"effect": "NoShedule"}]}, "0.effect: 'NoShedule' is not one of NoSchedule, PreferNoSchedule"),
        ({"tolerations": [{"tolerationSeconds": True}]}, "0.tolerationSeconds: true is not a whole number"),
        ({"affinity": {"nodeAfinity": {}}}, "unknown key 'nodeAfinity'; did you mean 'nodeAffinity'?"),
        ({"affinity": {"nodeAffinity": []}}, "nodeAffinity: [] is not a mapping"),
        ({"priority_class": "A b"}, "'A b' is not the name of an object; e.g. my-object"),
        ({"image_pull_secrets": ["A"]}, "'A' is not the name of an object"),
        ({"security_context": {"runAsUser": "root"}}, "runAsUser: 'root' is not a whole number"),
        ({"security_context": {"runAsRoot": 0}}, "unknown key 'runAsRoot'; did you mean"),
        ({"container_security_context": {"capabilities": {"drop": "ALL"}}}, "capabilities.drop: 'ALL' is not a list"),
        ({"env": [{"name": "A", "value": 2}]}, "0.value: 2 is not a string; put it in quotes"),
        ({"env": [{"value": "2"}]}, "0: the key name is required"),
        ({"env": [{"name": "1 A", "value": "2"}]}, "'1 A' is not the name of a variable; e.g. OMP_NUM_THREADS"),
        ({"env": [{"name": "A", "valueFrom": {"secret": {}}}]}, "0.valueFrom: unknown key 'secret'; did you mean"),
        ({"volumes": [{"name": "tmp", "emptyDir": {}}]}, "own volume has the name 'tmp'; choose another one, e.g. my-tmp"),
        ({"volumes": [{"name": "a", "emptydir": {}}]}, "unknown key 'emptydir'; did you mean 'emptyDir'?"),
        ({"volume_mounts": [{"name": "a", "mountPath": "/a"}]}, "there is no volume 'a'; add it to volumes"),
        ({"volume_mounts": [{"name": "tmp"}]}, "0: the key mountPath is required"),
        ({"env": [{"name": "A", "value": "1"}, {"name": "A"}]}, "env: two members have the name 'A'; leave one of them out"),
        ({"volumes": [{"name": "a"}, {"name": "a"}]}, "volumes: two members have the name 'a'"),
        ({"resources": {"limits": {"cpu": "lots"}}}, "'lots' is not a quantity; e.g. 500m or 2Gi"),
        ({"service_account": "a", "service_account_annotations": {"b": "c"}}, "does not change the existing account 'a'"),
        ({"pull_secrets": ["x"]}, "unknown key 'pull_secrets'; did you mean 'image_pull_secrets'?"),
        ({"annotations": {"a": "x\ny"}}, "write one line of visible text"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(pod: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"kubernetes": {"pod": pod}}, where="bundle.yaml")
    assert message in str(caught.value)
    assert "bundle.yaml, kubernetes.pod" in str(caught.value)


def test_null_is_allowed_where_it_removes_a_default() -> None:
    spec = parse_spec({"kubernetes": {"pod": {"security_context": {"runAsUser": None}}}}, where="bundle.yaml")
    assert spec.kubernetes.pod.security_context == {"runAsUser": None}
