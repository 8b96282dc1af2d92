"""components/: parts that an overlay adds to the base, in which little more than names and ports depends on the bundle."""

from __future__ import annotations

from functools import partial
from typing import Any

from bundler.render import RenderContext, dns_label
from bundler.render.kubernetes import pods
from bundler.render.kubernetes.tree import Edit, ports, rename, set_image, unchanged

_UNCHANGED = (
    "autoscaling/kustomization.yaml",
    "disruption-budget/kustomization.yaml",
    "gateway/kustomization.yaml",
    "gateway/names.yaml",
    "headless/kustomization.yaml",
    "ingress/kustomization.yaml",
    "network-policy/kustomization.yaml",
    "tls/ingress.yaml",
    "tls/service.yaml",
    "topology-spread/kustomization.yaml",
)
"""Files in which nothing depends on the bundle."""

_RENAMED = ("disruption-budget/pdb.yaml", "topology-spread/spread.yaml")
"""Files in which only names depend on the bundle."""


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the components, by path."""
    table: dict[str, Edit] = dict.fromkeys(_UNCHANGED, unchanged)
    table.update(dict.fromkeys(_RENAMED, partial(rename, context)))
    table |= {
        "autoscaling/hpa.yaml": partial(_hpa, context),
        "gateway/httproute.yaml": partial(_route, context),
        "gpu/gpu.yaml": partial(_gpu, context),
        "gpu/kustomization.yaml": partial(_gpu_kustomization, context),
        "headless/service.yaml": partial(_headless, context),
        "ingress/grpc.yaml": partial(_ingress, context),
        "ingress/rest.yaml": partial(_ingress, context),
        "network-policy/networkpolicy.yaml": partial(_policy, context),
        "tls/kustomization.yaml": partial(_tls, context),
        "tls/tls.yaml": partial(_tls_patch, context),
    }
    if not context.spec.kubernetes.autoscaling.metrics:
        table["gpu/autoscaling.yaml"] = unchanged
    if context.spec.serving.monitoring:
        table |= {
            "metrics/kustomization.yaml": unchanged,
            "metrics/annotations.yaml": partial(_annotations, context),
            "service-monitor/kustomization.yaml": unchanged,
            "service-monitor/service.yaml": partial(_metrics_service, context),
            "service-monitor/servicemonitor.yaml": partial(_service_monitor, context),
        }
    return {f"components/{path}": edit for path, edit in table.items()}


def host(context: RenderContext) -> str:
    """Return the host name under which clients outside the cluster reach the server."""
    return context.spec.kubernetes.host or f"{context.objects_name}.example.com"


def tls_secret(context: RenderContext) -> str:
    """Return the name of the secret of type kubernetes.io/tls."""
    return context.spec.kubernetes.tls_secret or f"{dns_label(context.objects_name)}-tls"


def gateway(context: RenderContext) -> dict[str, str]:
    """Return the parentRef of the routes; the setting has the form `name` or `namespace/name`."""
    namespace, _, name = context.spec.kubernetes.gateway.rpartition("/")
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _hpa(context: RenderContext, document: Any) -> None:
    rename(context, document)
    document["spec"]["minReplicas"] = context.spec.kubernetes.replicas
    document["spec"]["maxReplicas"] = context.spec.kubernetes.max_replicas
    settings = context.spec.kubernetes.autoscaling
    if settings.metrics:
        document["spec"]["metrics"] = pods.plain(settings.metrics)
    else:
        document["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = settings.cpu_percent


def _headless(context: RenderContext, document: Any) -> None:
    rename(context, document)
    for port, number in zip(document["spec"]["ports"], ports(context), strict=True):
        port["port"] = number


def _policy(context: RenderContext, document: Any) -> None:
    rename(context, document)
    prometheus = document["spec"]["ingress"][-1]["from"][0]["namespaceSelector"]["matchLabels"]
    prometheus["kubernetes.io/metadata.name"] = context.spec.kubernetes.prometheus_namespace


def _annotations(context: RenderContext, document: Any) -> None:
    rename(context, document)
    annotations = document["spec"]["template"]["metadata"]["annotations"]
    annotations["prometheus.io/port"] = str(context.spec.serving.rest_port)
    annotations["prometheus.io/path"] = context.spec.serving.monitoring_path


def _metrics_service(context: RenderContext, document: Any) -> None:
    rename(context, document)
    document["spec"]["ports"][0]["port"] = context.spec.serving.rest_port


def _service_monitor(context: RenderContext, document: Any) -> None:
    rename(context, document)
    settings = context.spec.kubernetes.service_monitor
    document["spec"]["endpoints"][0].update(path=context.spec.serving.monitoring_path, interval=settings.interval)
    if settings.labels:
        document["metadata"]["labels"] = dict(settings.labels)


def _route(context: RenderContext, document: Any) -> None:
    rename(context, document)
    spec = document["spec"]
    spec["parentRefs"][0].update(gateway(context))
    spec["hostnames"][0] = host(context)
    for rule, port in zip(spec["rules"], ports(context), strict=True):
        rule["backendRefs"][0]["port"] = port


def _ingress(context: RenderContext, document: Any) -> None:
    rename(context, document)
    spec = document["spec"]
    spec["ingressClassName"] = context.spec.kubernetes.ingress_class
    spec["tls"][0]["hosts"][0] = spec["rules"][0]["host"] = host(context)
    spec["tls"][0]["secretName"] = tls_secret(context)


def _gpu(context: RenderContext, document: Any) -> None:
    rename(context, document)
    spec = document["spec"]["template"]["spec"]
    spec["containers"][0]["resources"]["limits"][pods.GPU] = context.spec.kubernetes.gpus
    # A patch replaces the whole list of tolerations, so it repeats the user's.
    spec["tolerations"][:0] = pods.plain(context.spec.kubernetes.pod.tolerations)


def _gpu_kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    if context.spec.kubernetes.autoscaling.metrics:
        del document["patches"][1]


def _tls(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_image(document["images"][0], context.image)


def _tls_patch(context: RenderContext, document: Any) -> None:
    rename(context, document)
    group = pods.file_group(context)
    if group is None:
        del document[_index(document, "/fsGroup")]
    else:
        document[_index(document, "/fsGroup")]["value"] = group
    init = document[_index(document, "/initContainers")]["value"][0]
    pods.set_mapping(init["securityContext"], pods.container_security(context))
    for patch in document:
        secret = isinstance(patch["value"], dict) and patch["value"].get("secret")
        if secret:
            secret["secretName"] = tls_secret(context)


def _index(patches: Any, end: str) -> int:
    """Return the index of the JSON patch whose path has the given end."""
    return next(index for index, patch in enumerate(patches) if patch["path"].endswith(end))
