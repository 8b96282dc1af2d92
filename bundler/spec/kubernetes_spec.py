"""Settings of the manifests in k8s/: section `kubernetes` of bundle.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from bundler.spec.build_job_spec import BuildJobSpec
from bundler.spec.fields import INT32
from bundler.spec.image_names import Image, has_registry
from bundler.spec.pod_spec import ANY, Labels, ObjectName, PodSpec, shaped
from bundler.spec.signature_spec import Strict
from bundler.spec.storage_uri import BUCKETS, IMAGES, StorageUri, scheme

Component = Literal[
    "gateway", "ingress", "headless", "canary", "autoscaling", "disruption-budget", "metrics", "service-monitor",
    "alerts", "dashboard", "network-policy", "topology-spread", "gpu", "tls", "models-pvc", "models-volume", "models-bucket",
    "models-oci", "fill-claim",
]  # fmt: skip
COMPONENTS: tuple[Component, ...] = get_args(Component)
"""Components of k8s/ in the order in which an overlay lists them: those that patch others come after those that add."""

SOURCES: tuple[Component, ...] = ("models-pvc", "models-volume", "models-bucket", "models-oci")
"""Components that say where the models come from; without one, they are in the image."""

METRIC = {
    "type": ("Resource", "ContainerResource", "Pods", "Object", "External"),
    **dict.fromkeys(("resource", "containerResource", "pods", "object", "external"), ANY),
}
"""Shape of a metric of a HorizontalPodAutoscaler (autoscaling/v2, MetricSpec)."""


class AutoscalingSpec(Strict):
    """What the HorizontalPodAutoscaler looks at."""

    cpu_percent: int = Field(70, ge=1, le=INT32, description="Average use of the CPU request, in percent.")
    metrics: Annotated[tuple[dict[str, Any], ...], shaped([METRIC], "type")] = Field(
        (),
        description="Metrics (autoscaling/v2, MetricSpec) in place of the use of the CPU, or of the GPUs with the component gpu.",
        examples=[[{"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": 8}}}]],
    )


class ClaimSpec(Strict):
    """The volume claim of models-pvc."""

    existing: ObjectName | None = Field(
        None, description="An existing claim. Default: one of the bundle's own.", examples=["models"]
    )
    storage_class: ObjectName | None = Field(
        None, description="Class of the claim. Default: the cluster's.", examples=["nfs"]
    )
    access_mode: Literal["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce", "ReadWriteOncePod"] = Field(
        "ReadWriteMany", description="Pods on several nodes read the claim, so its class must support this mode."
    )
    size: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,8}(Mi|Gi|Ti|M|G|T)$",
        description="Size of the claim. Default: twice the size of all versions.",
        examples=["10Gi"],
    )
    keep: bool = Field(True, description="Keep the claim when the Helm release is removed.")

    @model_validator(mode="after")
    def _of_one_claim(self) -> ClaimSpec:
        wrong = sorted(self.model_fields_set - {"existing"})
        if self.existing and wrong:
            raise ValueError(f"{wrong[0]}: the claim {self.existing!r} exists already, so leave out {', '.join(wrong)}")
        return self


class ServiceMonitorSpec(Strict):
    """The ServiceMonitor."""

    labels: Labels = Field(
        {}, description="Labels by which the Prometheus selects it.", examples=[{"release": "prometheus"}]
    )
    interval: str = Field("15s", pattern=r"^[1-9][0-9]{0,5}(ms|s|m|h)$", description="Time between two scrapes.")


class AlertsSpec(Strict):
    """The alert rules of the component alerts."""

    labels: Labels = Field(
        {}, description="Labels by which the Prometheus selects the PrometheusRule.", examples=[{"release": "prometheus"}]
    )
    error_percent: float = Field(
        1.0, gt=0, le=100, description="Share of a model's requests, in percent, that may fail by the server's fault."
    )
    latency_milliseconds: float = Field(
        500.0, gt=0, le=600_000, description="Latency that 99 % of a model's requests have to keep."
    )
    queue_milliseconds: float = Field(
        100.0, gt=0, le=600_000, description="Time that 95 % of the requests may wait to be batched at most."
    )
    minutes: int = Field(10, ge=1, le=1440, description="How long a threshold has to be exceeded.")


class DashboardSpec(Strict):
    """The ConfigMap with the Grafana dashboard."""

    labels: Labels = Field({"grafana_dashboard": "1"}, description="Labels by which Grafana's sidecar finds it.")
    annotations: Labels = Field(
        {}, description="Annotations, such as the folder for the sidecar.", examples=[{"grafana_folder": "Models"}]
    )


NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class KubernetesSpec(Strict):
    """Settings of the manifests in k8s/ (docs/kubernetes.md)."""

    namespace: str | None = Field(
        None,
        pattern=NAMESPACE,
        description="Namespace of the objects. Default: the one that kubectl or Helm applies them to.",
        examples=["models"],
    )
    name: str | None = Field(None, description="Name of the objects. Default: the bundle's name.", examples=["digits"])
    replicas: int = Field(2, ge=1, le=INT32, description="Number of pods, or the smallest number with autoscaling.")
    max_replicas: int = Field(10, ge=1, le=INT32, description="Largest number of pods with autoscaling.")
    cpu: str = Field(
        "1",
        pattern=r"^([0-9]{1,9}(\.[0-9]{1,9})?|[0-9]{1,9}m)$",
        coerce_numbers_to_str=True,
        description="CPU request, e.g. 2 or 500m.",
    )
    memory: str | None = Field(
        None,
        pattern=r"^([0-9]{1,18}|[0-9]{1,6}(\.[0-9]{1,6})?([KMGT]i|[kMGT]))$",
        description="Memory request; the limit is twice that. Default: computed from the size of the models.",
        examples=["1Gi"],
    )
    models_image: Image | None = Field(
        None,
        description="Image that contains the models. Default: <name>. Without a tag, it gets <version>-<docker.tag>.",
        examples=["registry.example.com/digits:1"],
    )
    components: tuple[Component, ...] = Field(
        ("autoscaling", "disruption-budget", "metrics", "network-policy", "topology-spread"),
        description="Components to enable in the 'prod' overlay and in the Helm chart.",
    )
    pod: PodSpec = Field(PodSpec(), description="Settings of the pods that Kubernetes defines.")
    autoscaling: AutoscalingSpec = Field(AutoscalingSpec(), description="The autoscaler.")
    canary_percent: int = Field(
        10, ge=0, le=100, description="canary: percentage of requests that a Gateway sends to the canary."
    )
    host: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
        max_length=253,
        description="gateway, ingress: host name for clients outside the cluster. Default: <name>.example.com.",
        examples=["digits.example.com"],
    )
    gateway: str = Field(
        "gateway",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="gateway: Gateway to attach to, as name or namespace/name.",
    )
    ingress_class: str = Field(
        "nginx", pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", description="ingress: class of the Ingress."
    )
    tls_secret: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        description="tls, ingress: secret with the certificate. Default: <name>-tls.",
        examples=["digits-tls"],
    )
    gpus: int = Field(1, ge=1, le=INT32, description="gpu: number of GPUs per pod.")
    prometheus_namespace: str = Field(
        "monitoring", pattern=NAMESPACE, description="network-policy: namespace from which Prometheus reads the metrics."
    )
    service_monitor: ServiceMonitorSpec = Field(ServiceMonitorSpec(), description="Settings of the ServiceMonitor.")
    alerts: AlertsSpec = Field(AlertsSpec(), description="Thresholds of the alerts.")
    dashboard: DashboardSpec = Field(DashboardSpec(), description="The Grafana dashboard.")
    claim: ClaimSpec = Field(ClaimSpec(), description="The volume claim.")
    storage_uri: StorageUri | None = Field(
        None,
        description="KServe, models-bucket: where the content of the bundle's models/ folder is. models-bucket copies from s3:// "
        "and gs://; KServe also reads pvc://, hf://, https:// (an archive), oci:// and oci+native:// (an image).",
        examples=["s3://bucket/models"],
    )
    storage_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$",
        description="models-bucket: address of an S3 store that is not AWS, such as MinIO.",
        examples=["http://minio.storage:9000"],
    )
    copy_image: Image = Field(
        "rclone/rclone:1.71.0", description="models-bucket: image with rclone, which copies the models."
    )
    volume_image: Image | None = Field(
        None,
        description="models-volume, models-oci, KServe with an image: the image that `tfbundle push` or docker/Dockerfile.models "
        "makes of the models. Default: that of storage_uri, or else <name>-models. Without a tag, it gets <version>.",
        examples=["registry.example.com/digits-models:1"],
    )
    pull_image: Image = Field(
        "ghcr.io/oras-project/oras:v1.3.3", description="models-oci: image with a shell and the ORAS CLI, which pulls the models."
    )
    pull_secret: ObjectName | None = Field(
        None,
        description="models-oci: Secret of type kubernetes.io/dockerconfigjson with the registry's credentials. Default: the "
        "first of pod.image_pull_secrets.",
        examples=["registry"],
    )
    build_job: BuildJobSpec = Field(BuildJobSpec(), description="The Jobs of tfbundle build-job.")

    @property
    def models_reference(self) -> str | None:
        """The image that holds only the models: `volume_image`, or that of `storage_uri`; None if neither names one."""
        if self.volume_image is None and self.storage_uri and scheme(self.storage_uri) in IMAGES:
            return self.storage_uri.partition("://")[2]
        return self.volume_image

    @field_validator("components")
    @classmethod
    def _fit_together(cls, components: tuple[Component, ...]) -> tuple[Component, ...]:
        sources = [name for name in SOURCES if name in components]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} both mount /models; choose one of them")
        if "fill-claim" in components and "models-pvc" not in components:
            raise ValueError("fill-claim copies the models to the claim of models-pvc; add models-pvc, or leave out fill-claim")
        return tuple(dict.fromkeys(components))

    @model_validator(mode="after")
    def _consistent(self) -> KubernetesSpec:
        if self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is less than replicas {self.replicas}; set e.g. max_replicas: {self.replicas}"
            )
        if self.storage_endpoint and not (self.storage_uri or "").startswith("s3://"):
            raise ValueError("storage_endpoint is the address of an S3 store, so storage_uri must begin with s3://")
        if "models-bucket" in self.components and self.storage_uri and scheme(self.storage_uri) not in BUCKETS:
            raise ValueError(f"models-bucket copies from s3:// or gs://, not from {self.storage_uri!r}; leave it out")
        if "models-oci" in self.components and not (self.models_reference and has_registry(self.models_reference)):
            raise ValueError(
                "models-oci pulls from a registry, so volume_image needs its host; e.g. registry.example.com/digits-models:1"
            )
        if self.claim.access_mode == "ReadOnlyMany" and "fill-claim" in self.components:
            raise ValueError("claim.access_mode is ReadOnlyMany, but fill-claim writes to the claim; use ReadWriteMany")
        return self
