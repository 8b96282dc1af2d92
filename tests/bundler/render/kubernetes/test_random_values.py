"""Random settings: kustomize and Helm render the same valid objects, whatever version of YAML a reader knows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bundler.render import kubernetes
from bundler.spec.storage_uri import BUCKETS, EXAMPLES, scheme
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import OTHERS, VERSIONS, assert_valid, kustomize
from tests.bundler.render.kubernetes.test_chart import assert_same, helm_objects

WORDS = ("no", "on", "yes", "y", "n", "null", "true", "off", "nan")
"""Names that YAML 1.1 reads as something else."""
NUMBERS = ("123", "1e3", "0x1f", "0777", "1-2")
SOURCES = (("models-pvc",), ("models-pvc", "fill-claim"), ("models-volume",), ("models-bucket",), ("models-oci",), ())

names = st.sampled_from((*WORDS, *NUMBERS, "digits", "my_model", "a" * 53, "b" * 80))
labels = st.sampled_from((*WORDS, *NUMBERS, "team-a"))
images = st.sampled_from((
    None, "no", "registry.example.com:5000/team/models", "models:7", "models:1e3", f"models@sha256:{'c' * 64}",
    f"1e3.example:5000/on:1e3@sha256:{'c' * 64}",
))  # fmt: skip


@st.composite
def component_sets(draw: st.DrawFn) -> list[str]:
    """Draw components, of which at most one is a source of models."""
    return [*draw(st.sets(st.sampled_from(OTHERS))), *draw(st.sampled_from(SOURCES))]


def some(section: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return sections of bundle.yaml with some of the given keys."""
    return st.fixed_dictionaries({}, optional=section)


word = st.sampled_from((*WORDS, *NUMBERS))
pods = some(
    {
        "annotations": st.dictionaries(labels, word, max_size=2), "labels": st.dictionaries(labels, word, max_size=2),
        "node_selector": st.dictionaries(labels, word, max_size=1), "priority_class": labels, "runtime_class": labels,
        "tolerations": st.lists(
            some({"key": word, "value": word, "operator": st.just("Equal"), "effect": st.just("NoExecute")}), max_size=2
        ),
        "affinity": st.sampled_from((
            {}, {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "on"}}}}]}},
        )),
        "image_pull_secrets": st.lists(labels, max_size=2), "service_account": labels,
        "security_context": st.sampled_from(({}, {"runAsUser": 20000, "fsGroup": 3}, {"runAsUser": None, "runAsGroup": None})),
        "container_security_context": st.sampled_from(({}, {"runAsUser": 20000}, {"privileged": None})),
        "env": st.lists(st.fixed_dictionaries({"name": st.just("A"), "value": word}), max_size=1),
        "env_from": st.lists(st.fixed_dictionaries({"configMapRef": st.fixed_dictionaries({"name": labels})}), max_size=1),
        "volumes": st.lists(
            st.fixed_dictionaries({"name": st.just("data"), "secret": st.fixed_dictionaries({"secretName": labels})}), max_size=1
        ),
        "resources": some({"requests": st.just({"ephemeral-storage": "1Gi"}), "limits": st.just({"cpu": "4", "memory": 2**31})}),
    }
)  # fmt: skip
claims = st.one_of(
    st.fixed_dictionaries({"existing": labels}),
    some(
        {
            "storage_class": labels, "access_mode": st.sampled_from(("ReadWriteMany", "ReadWriteOnce")), "keep": st.booleans(),
            "size": st.sampled_from(("1Gi", "500M")),
        }
    ),
)  # fmt: skip
scaling = some(
    {
        "cpu_percent": st.integers(1, 100),
        "metrics": st.sampled_from((
            [], [{"type": "Pods", "pods": {"metric": {"name": "no"}, "target": {"type": "AverageValue", "averageValue": "1e3"}}}],
        )),
    }
)  # fmt: skip


kubernetes_settings = st.fixed_dictionaries(
    {
        "name": names, "namespace": labels, "components": component_sets(), "replicas": st.integers(1, 5),
        "max_replicas": st.integers(5, 2**31 - 1), "canary_percent": st.integers(0, 100), "gpus": st.integers(1, 8),
        "cpu": st.sampled_from(("1", "500m", "0.25", "16")), "ingress_class": labels, "models_image": images,
        "volume_image": images,
        "memory": st.sampled_from((None, "1Gi", "1.5G", "1073741824")), "tls_secret": st.one_of(st.none(), labels),
        "host": st.sampled_from((None, "no.example.com", "1.2.3.nip.io")),
        "gateway": st.sampled_from(("on", "no/yes", "123/1e3", "infra/public")),
        "pod": pods, "claim": claims, "autoscaling": scaling, "prometheus_namespace": labels, "copy_image": st.just("rclone:1e3"),
        "pull_secret": st.one_of(st.none(), labels), "pull_image": st.just("oras:1e3"),
        "service_monitor": some({"labels": st.dictionaries(labels, word, max_size=1), "interval": st.just("1m")}),
        "alerts": some({"labels": st.dictionaries(labels, word, max_size=1), "error_percent": st.sampled_from((0.01, 1, 99.5))}),
        "dashboard": some({"labels": st.dictionaries(labels, word, max_size=1)}),
    },
    optional={
        "storage_uri": st.sampled_from(("s3://no/models", "gs://b1e3/x", *EXAMPLES.values())),
    }
)  # fmt: skip
serving_settings = st.fixed_dictionaries(
    {
        "grpc_port": st.integers(1, 30000), "rest_port": st.integers(30001, 65535), "batching": st.booleans(),
        "monitoring": st.booleans(), "monitoring_path": st.sampled_from(("/on", "/monitoring/prometheus/metrics", "/1e3")),
        "labels": st.sampled_from(({}, {"digits": {"stable": 1, "canary": 3}}, {"digits": {"no": 2}})),
        "flags": st.sampled_from(({}, {"num_load_threads": 4}, {"rest_api_num_threads": 16, "enable_profiler": True})),
    }
)  # fmt: skip
docker_settings = st.fixed_dictionaries(
    {"tag": st.sampled_from(("2.19.1-gpu", "1e3-gpu", "gpu")), "digest": st.sampled_from((None, f"sha256:{'d' * 64}"))}
)


def check(folder: Path, sections: dict[str, Any]) -> None:
    """Render a bundle with these settings, and assert that both ways give the same valid objects."""
    kubernetes.render(make_context(**sections), folder)
    rendered = helm_objects(folder / "k8s")
    assert rendered == helm_objects(folder / "k8s", yaml=(1, 1))
    objects = kustomize(folder / "k8s" / "overlays" / "prod")
    assert_same(rendered, objects)
    assert_valid(objects, VERSIONS[-1:])
    assert_valid(kustomize(folder / "k8s" / "kserve"), VERSIONS[-1:])
    old = YAML(typ="safe", pure=True)
    old.version = (1, 1)
    for file in (folder / "k8s").rglob("*.yaml"):
        if "templates" not in file.parts:
            assert list(old.load_all(file.read_text())) == list(YAML(typ="safe", pure=True).load_all(file.read_text())), file.name


@pytest.mark.parametrize(
    "examples", [pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]), 3], ids=str
)
def test_kustomize_and_helm_agree_for_random_settings(examples: int) -> None:
    # Shrinking a failure would take minutes; its settings are printed.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    checks = list(HealthCheck)
    @settings(max_examples=examples, deadline=None, suppress_health_check=checks, derandomize=examples < 100, phases=phases)
    @given(kubernetes_settings, serving_settings, docker_settings)
    def agree(cluster: dict[str, Any], serving: dict[str, Any], image: dict[str, Any]) -> None:
        if "models-bucket" in cluster["components"] and scheme(cluster.get("storage_uri", "s3://")) not in BUCKETS:
            del cluster["storage_uri"]
        if cluster.get("storage_uri", "").startswith("s3://") and cluster["replicas"] % 2:
            cluster["storage_endpoint"] = "http://minio.storage:9000"
        if "models-oci" in cluster["components"] and "." not in (cluster["volume_image"] or "").partition("/")[0]:
            cluster["volume_image"] = "registry.example.com/no:1e3"
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder), {"kubernetes": cluster, "serving": serving, "docker": image})

    agree()
