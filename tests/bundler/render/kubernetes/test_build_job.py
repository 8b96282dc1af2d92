"""The Jobs of a build in a cluster: valid, restricted, one pod per shard, and only killed pods are tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.render.files import write_files
from bundler.render.kubernetes.build_job import Run, render, shards_address
from bundler.spec.bundle_spec import parse_spec
from tests.bundler.render.kubernetes.cluster import VERSIONS, assert_valid, by_name, kustomize

SETTINGS = {"image": "registry.example.com/builder:1", "meet": "s3://bucket/builds", "output": "s3://bucket/digits"}
EVERYTHING: dict[str, Any] = {
    **SETTINGS, "meet": "oci://registry.example.com/builds", "shards": 8, "parallelism": 2, "jobs": 2, "retries": 5,
    "deadline": 600, "sources": "/work/models", "sources_claim": "sources", "cache_claim": "cache", "secret": "builds",
    "registry_secret": "registry", "cpu": 4, "memory": "6Gi",
    "pod": {
        "node_selector": {"pool": "builds"}, "service_account": "builder", "image_pull_secrets": ["registry"],
        "labels": {"team": "ml"}, "env": [{"name": "HOME", "value": "/home"}, {"name": "HF_HUB_OFFLINE", "value": "1"}],
        "env_from": [{"configMapRef": {"name": "tuning"}}], "volumes": [{"name": "home", "emptyDir": {}}],
        "volume_mounts": [{"name": "home", "mountPath": "/home"}], "resources": {"limits": {"cpu": "8"}},
    },
}  # fmt: skip


def objects(folder: Path, settings: dict[str, Any], run: str = "17", **kubernetes: Any) -> dict[tuple[str, str], Any]:
    spec = parse_spec({"kubernetes": {**kubernetes, "build_job": settings}}, where="the test")
    meet = spec.kubernetes.build_job.meet
    assert meet
    write_files(folder, render(spec, Run(run, "digits", "bundle.yaml", shards_address(meet, run))))
    return by_name(kustomize(folder))


def containers(found: dict[tuple[str, str], Any]) -> list[Any]:
    return [job["spec"]["template"]["spec"]["containers"][0] for job in found.values()]


@pytest.mark.parametrize("settings", [SETTINGS, EVERYTHING], ids=["least", "most"])
def test_both_jobs_are_valid_for_every_kubernetes_and_restricted(settings: dict[str, Any], tmp_path: Path) -> None:
    found = objects(tmp_path / "job", settings, namespace="builds", name="models")
    assert set(found) == {("Job", "models-build-17"), ("Job", "models-merge-17")}
    assert {job["metadata"]["namespace"] for job in found.values()} == {"builds"}
    assert_valid(list(found.values()), tuple(version for version in VERSIONS if version != "1.28"))


def test_there_is_a_pod_per_shard_and_only_what_was_killed_is_tried_again(tmp_path: Path) -> None:
    spec = objects(tmp_path / "job", {**SETTINGS, "shards": 3, "retries": 1})["Job", "digits-build-17"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["backoffLimitPerIndex"] == 1
    assert "backoffLimit" not in spec  # one shard's failures take no other with it
    ignored, final = spec["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget", "status": "True"}])
    assert (final["action"], final["onExitCodes"]["values"]) == ("FailIndex", [1, 2, 3])
    assert final["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy needs it


def test_shards_meet_at_an_address_of_their_run(tmp_path: Path) -> None:
    for run in ("1", "2"):
        build, merge = containers(objects(tmp_path / run, SETTINGS, run))
        assert f"--output-dir=s3://bucket/builds/{run}" in build["args"]
        assert merge["args"][-1] == f"s3://bucket/builds/{run}"
        assert "--output-dir=s3://bucket/digits" in merge["args"]


def test_every_setting_reaches_both_pods(tmp_path: Path) -> None:
    found = objects(tmp_path / "job", EVERYTHING)
    assert found["Job", "digits-build-17"]["spec"]["parallelism"] == 2
    for job, container in zip(found.values(), containers(found), strict=True):
        pod = job["spec"]["template"]["spec"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables == {"HOME": "/home", "HF_HUB_OFFLINE": "1", "DOCKER_CONFIG": "/registry"}
        assert container["envFrom"] == [{"secretRef": {"name": "builds"}}, {"configMapRef": {"name": "tuning"}}]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {"/tmp", "/home", "/work/models", "/registry"} <= set(mounts)
        assert mounts["/work/models"]["readOnly"] is mounts["/registry"]["readOnly"] is True
        assert (container["image"], container["workingDir"]) == ("registry.example.com/builder:1", "/work/models")
        assert (pod["nodeSelector"], pod["serviceAccountName"]) == ({"pool": "builds"}, "builder")
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert job["spec"]["template"]["metadata"]["labels"]["team"] == "ml"
    build, merge = containers(found)
    assert build["resources"] == {"requests": {"cpu": "4", "memory": "6Gi"}, "limits": {"memory": "12Gi", "cpu": "8"}}
    assert "--cache=/cache" in build["args"]
    assert build["volumeMounts"][-1] == {"name": "cache", "mountPath": "/cache"}
    assert merge["resources"] == {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}


def test_the_longest_names_leave_room_for_the_index(tmp_path: Path) -> None:
    settings = {**SETTINGS, "shards": 100_000}
    for _, name in objects(tmp_path / "job", settings, "r" * 40, name="n" * 60):
        assert len(f"{name}-99999") <= 63  # a pod's host name is a DNS label
