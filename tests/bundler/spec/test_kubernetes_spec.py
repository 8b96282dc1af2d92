"""Settings in section kubernetes that must fit together; test_components.py and test_pod_spec.py have single values."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.kubernetes_spec import COMPONENTS, SOURCES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": ["models-pvc", "models-bucket"]}, "both mount /models; choose one of them"),
        ({"components": ["fill-claim"]}, "add models-pvc, or leave out fill-claim"),
        ({"components": ["gpu"]}, "tensorflow/serving:2.19.1 is an image for CPUs; set docker.tag: 2.19.1-gpu"),
        ({"replicas": 3, "max_replicas": 2}, "set e.g. max_replicas: 3"),
        ({"storage_endpoint": "http://minio:9000"}, "storage_uri must begin with s3://"),
        ({"storage_uri": "s3://a", "storage_endpoint": "minio:9000"}, "http://minio.storage:9000"),
        ({"claim": {"existing": "a", "size": "1Gi"}}, "the claim 'a' exists already, so leave out size"),
        ({"claim": {"size": "big"}}, "e.g. 10Gi"),
        ({"claim": {"access_mode": "ReadOnlyMany"}, "components": ["models-pvc", "fill-claim"]}, "use ReadWriteMany"),
        ({"autoscaling": {"metrics": [{"type": "Pod"}]}}, "'Pod' is not one of Resource, ContainerResource, Pods"),
        ({"autoscaling": {"metrics": [{"pods": {}}]}}, "0: the key type is required"),
        ({"autoscaling": {"cpu_percent": 0}}, "at least 1"),
        ({"service_monitor": {"interval": "15"}}, "15s"),
        ({"components": ["models-oci"]}, "e.g. registry.example.com/digits-models:1"),
        ({"components": ["models-oci"], "volume_image": "team/models:1"}, "volume_image needs its host"),
        ({"components": ["models-bucket"], "storage_uri": "pvc://a"}, "models-bucket copies from s3:// or gs://"),
        ({"copy_image": "a b"}, "is not the name of an image"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"kubernetes": settings}, where="bundle.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "docker", [{"tag": "2.19.1-gpu"}, {"image": "registry.example.com/my-serving"}, {"tag": "latest-devel-gpu"}]
)
def test_a_gpu_is_allowed_with_a_cuda_image_or_one_of_the_users_own(docker: dict[str, Any]) -> None:
    assert parse_spec({"kubernetes": {"components": ["gpu"]}, "docker": docker}, where="the test")


def test_a_source_of_models_is_a_component() -> None:
    assert set(SOURCES) < set(COMPONENTS)
