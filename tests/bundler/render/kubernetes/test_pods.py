"""Pod settings of bundle.yaml reach all pods, in kustomize and KServe; test_chart.py and test_random_values.py compare Helm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.render import kubernetes
from bundler.render.kubernetes import pods
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import (
    Object,
    assert_valid,
    by_name,
    kustomize,
    overlay_objects,
    pod_of,
    pod_spec,
)

SETTINGS: dict[str, Any] = {
    "annotations": {"example.com/team": "ml", "yes": "no"},
    "labels": {"team": "ml"},
    "node_selector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    "affinity": {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
            ]
        }
    },
    "priority_class": "high",
    "runtime_class": "nvidia",
    "image_pull_secrets": ["registry"],
    "service_account": "models",
    "security_context": {"fsGroup": 2000, "runAsGroup": None},
    "container_security_context": {"runAsUser": 10002},
    "env": [{"name": "OMP_NUM_THREADS", "value": "2"}],
    "env_from": [{"configMapRef": {"name": "tuning"}}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}],
    "resources": {"requests": {"ephemeral-storage": "1Gi"}, "limits": {"cpu": 4}},
}
COMPONENTS = ("canary", "gpu", "tls", "models-pvc", "fill-claim")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    kubernetes.render(make_context(kubernetes={"pod": SETTINGS}, docker={"tag": "2.19.1-gpu"}), folder)
    return folder / "k8s"


def all_pods(objects: dict[tuple[str, str], Object]) -> list[Object]:
    """Return the pod templates of the Deployments and of the Job."""
    found = [o["spec"]["template"] for o in objects.values() if pod_of(o)]
    assert len(found) == 3
    return found


def test_scheduling_and_credentials_hold_for_every_pod(tree: Path) -> None:
    found = overlay_objects(tree, *COMPONENTS)
    assert_valid(list(found.values()))
    for template in all_pods(found):
        spec = template["spec"]
        assert spec["nodeSelector"] == SETTINGS["node_selector"]
        assert spec["tolerations"][0] == SETTINGS["tolerations"][0]
        assert spec["affinity"] == SETTINGS["affinity"]
        assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "nvidia")
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert template["metadata"]["annotations"].items() >= SETTINGS["annotations"].items()
        assert template["metadata"]["labels"]["team"] == "ml"


def test_the_selectors_of_an_affinity_stay_the_users_own(tree: Path) -> None:
    """kustomize's includeSelectors would add the bundle's labels to them, and no other pod has those."""
    for overlay in ("dev", "prod"):
        (deployment,) = (o for o in kustomize(tree / "overlays" / overlay) if o["kind"] == "Deployment")
        assert deployment["spec"]["template"]["spec"]["affinity"] == SETTINGS["affinity"]


def test_the_gpus_toleration_is_added_to_the_users(tree: Path) -> None:
    for name in ("demo", "demo-canary"):
        spec = pod_spec(overlay_objects(tree, *COMPONENTS), name)
        assert [toleration["key"] for toleration in spec["tolerations"]] == ["dedicated", "nvidia.com/gpu"]
        assert {variable["name"] for variable in spec["containers"][0]["env"]} == {"OMP_NUM_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH"}


def test_security_contexts_are_changed_key_by_key(tree: Path) -> None:
    for template in all_pods(overlay_objects(tree, *COMPONENTS)):
        assert template["spec"]["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 2000,
        }  # fmt: skip
        for container in (*template["spec"]["containers"], *template["spec"].get("initContainers", [])):
            assert container["securityContext"] == pods.CONTAINER_SECURITY | {"runAsUser": 10002}


def test_openshift_chooses_users_and_groups(tmp_path: Path) -> None:
    """Its SCC restricted-v2 refuses pods that ask for a user, or for a group of files, outside of the namespace's range."""
    kubernetes.render(make_context(kubernetes={"pod": {"security_context": {"runAsUser": None, "runAsGroup": None}}}), tmp_path)
    for template in all_pods(overlay_objects(tmp_path / "k8s", "canary", "tls", "models-pvc", "fill-claim")):
        assert set(template["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


def test_the_server_gets_variables_volumes_and_resources(tree: Path) -> None:
    spec = pod_spec(overlay_objects(tree))
    container = spec["containers"][0]
    assert container["env"] == SETTINGS["env"]
    assert container["envFrom"] == SETTINGS["env_from"]
    assert spec["volumes"][-1] == SETTINGS["volumes"][0]
    assert container["volumeMounts"][-1] == SETTINGS["volume_mounts"][0]
    assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"]["cpu"] == "4"


def test_an_existing_account_replaces_the_bundles_own(tree: Path, tmp_path: Path) -> None:
    found = overlay_objects(tree)
    assert pod_spec(found)["serviceAccountName"] == "models"
    assert not [name for kind, name in found if kind == "ServiceAccount"]
    kubernetes.render(make_context(), tmp_path)
    kubernetes.render(make_context(kubernetes={"pod": {"service_account": "models"}}), tmp_path)
    assert not (tmp_path / "k8s" / "base" / "serviceaccount.yaml").exists()
    kubernetes.render(make_context(kubernetes={"pod": {"service_account_annotations": {"a.b/role": "x"}}}), tmp_path)
    own = overlay_objects(tmp_path / "k8s")
    assert own["ServiceAccount", "demo"]["metadata"]["annotations"] == {"a.b/role": "x"}


def test_kserve_gets_the_same_settings(tree: Path) -> None:
    found = by_name(kustomize(tree / "kserve"))
    assert_valid(list(found.values()))
    predictor = found["InferenceService", "digits"]["spec"]["predictor"]
    assert predictor["affinity"] == SETTINGS["affinity"]
    assert (predictor["serviceAccountName"], predictor["priorityClassName"]) == ("models", "high")
    assert predictor["annotations"] == SETTINGS["annotations"]
    runtime = found["ServingRuntime", "demo"]["spec"]
    assert runtime["containers"][0]["env"] == SETTINGS["env"]
    assert runtime["volumes"][-1] == SETTINGS["volumes"][0]


def test_changes_are_merged_and_null_removes_a_key() -> None:
    default = {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}
    assert pods.merged(default, {"a": None, "b": {"c": 4}, "e": [2], "f": 5}) == {"b": {"c": 4, "d": 3}, "e": [2], "f": 5}
    assert default == {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}
