"""chart/: a Helm chart of the same objects. Its templates are copied unchanged; its values are computed here.

values.schema.json describes each value once: Helm checks the user's values with it, and the comments of values.yaml and the table
in README.md are made from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ruamel.yaml.scalarstring import LiteralScalarString

from bundler.render import RenderContext, short_hash, tf_serving
from bundler.render.files import read_yaml, write_yaml
from bundler.render.kubernetes import base, canary, components, models, monitoring, pods, scripts, sizes
from bundler.render.kubernetes.tree import TREE, ports, shipped, split_image
from bundler.render.kubernetes.values_file import readme_text, values_text

PROBE_PERIOD = 5
"""periodSeconds of the startup probe."""

SWITCHES: dict[str, tuple[str, ...]] = {
    "gateway": ("httpRoute", "enabled"),
    "ingress": ("ingress", "enabled"),
    "headless": ("headlessService", "enabled"),
    "canary": ("canary", "enabled"),
    "autoscaling": ("autoscaling", "enabled"),
    "disruption-budget": ("podDisruptionBudget", "enabled"),
    "metrics": ("metrics", "enabled"),
    "service-monitor": ("metrics", "serviceMonitor", "enabled"),
    "alerts": ("metrics", "alerts", "enabled"),
    "dashboard": ("metrics", "dashboard", "enabled"),
    "network-policy": ("networkPolicy", "enabled"),
    "topology-spread": ("zoneSpread", "enabled"),
    "gpu": ("gpu", "enabled"),
    "tls": ("tls", "enabled"),
    "models-pvc": ("persistence", "enabled"),
    "models-volume": ("imageVolume", "enabled"),
    "models-bucket": ("bucket", "enabled"),
    "models-oci": ("registry", "enabled"),
    "fill-claim": ("persistence", "fill", "enabled"),
}
"""Component of the kustomize tree to the value that switches it on in the chart."""

CHART = "chart/Chart.yaml"
ROUTES = "chart/files/canary-routes.yaml"
_LARGEST_NUMBER = 2**63 - 1
_PORT_FLAGS = ("--port=", "--rest_api_port=")


def files(context: RenderContext) -> dict[str, str]:
    """Return path and text of each file of the chart, except for the scripts, which `scripts.files` has."""
    texts = {path: shipped(path) for path in _fixed_files()}
    schema = json.loads(texts["chart/values.schema.json"])
    chosen = values(context)
    texts["chart/values.yaml"] = values_text(schema, chosen, context.objects_name)
    texts["chart/README.md"] = readme_text(schema, chosen, context.objects_name)
    routes = write_yaml({track: canary.route_matches(context, track) for track in canary.TRACKS})
    texts[ROUTES] = f"# Written by tfbundle. Requests that name a label or a version, for templates/gateway.yaml.\n{routes}"
    texts |= monitoring.chart_files(context)
    texts[CHART] = _chart(context, texts)
    return texts


def _fixed_files() -> list[str]:
    templates = sorted(path for path in (TREE / "chart" / "templates").rglob("*") if path.is_file())
    return ["chart/.helmignore", "chart/values.schema.json", *(path.relative_to(TREE).as_posix() for path in templates)]


def _chart(context: RenderContext, others: Mapping[str, str]) -> str:
    document = read_yaml(shipped(CHART))
    document.update(name=context.objects_name, version=_version(context, others), appVersion=context.tag)
    return write_yaml(document)


def _version(context: RenderContext, others: Mapping[str, str]) -> str:
    """Return the chart's version, which is another one whenever the chart's content is another one.

    It rises with the versions of the models. The build metadata, a hash of all other files, tells charts of the same models
    apart (semver.org, item 10).
    """
    number = min(sum(model.latest for model in context.models), _LARGEST_NUMBER)
    texts = {**others, **scripts.files()}
    content = json.dumps({path: text for path, text in sorted(texts.items()) if path.startswith("chart/")})
    return f"0.{number}.0+{short_hash(content)}"


def values(context: RenderContext) -> dict[str, Any]:
    """Return the chart's values for a bundle."""
    grpc, rest = ports(context)
    flags = [flag for flag in base.pod_flags(context) if not flag.startswith(_PORT_FLAGS)]
    result = {
        "nameOverride": "",
        "fullnameOverride": "",
        **_images(context),
        **_pods(context),
        "autoscaling": _autoscaling(context),
        "replicaCount": context.spec.kubernetes.replicas,
        "containerPorts": {"grpc": grpc, "rest": rest},
        "service": {"type": "ClusterIP", "grpcPort": grpc, "port": rest, "annotations": {}},
        "headlessService": {},
        "flags": flags,
        "config": {name: LiteralScalarString(text) for name, text in tf_serving.config_files(context).items()},
        "state": list(tf_serving.state_targets(context)),
        **_probes(context),
        **_routing(context),
        "podDisruptionBudget": {"maxUnavailable": 1},
        "networkPolicy": {"prometheusNamespace": context.spec.kubernetes.prometheus_namespace, "extraIngress": []},
        "metrics": _metrics(context),
        "zoneSpread": {},
        "gpu": {"count": context.spec.kubernetes.gpus},
        "tls": {"secretName": components.tls_secret(context), "clientVerify": False},
        "canary": _canary(context),
        **_sources(context),
    }
    _switch(context, result)
    return result


def _images(context: RenderContext) -> dict[str, Any]:
    server = context.spec.docker
    return {
        "image": _image(context.image) | {"pullPolicy": "IfNotPresent"},
        "serverImage": {"repository": server.image, "tag": server.tag, "digest": server.digest or ""},
    }


def _image(reference: str) -> dict[str, str]:
    name, tag, digest = split_image(reference)
    return {"repository": name, "tag": tag or "", "digest": digest or ""}


def _pods(context: RenderContext) -> dict[str, Any]:
    pod = context.spec.kubernetes.pod
    fields = pods.pod_fields(context)
    return {
        "imagePullSecrets": fields.get("imagePullSecrets", []),
        "serviceAccount": {
            "create": pod.service_account is None,
            "automount": False,
            "name": pod.service_account or "",
            "annotations": dict(pod.service_account_annotations),
        },
        "podAnnotations": dict(pod.annotations),
        "podLabels": dict(pod.labels),
        "podSecurityContext": pods.security(context),
        "securityContext": pods.container_security(context),
        "resources": pods.resources(context),
        "nodeSelector": fields.get("nodeSelector", {}),
        "tolerations": fields.get("tolerations", []),
        "affinity": fields.get("affinity", {}),
        "topologySpreadConstraints": [],
        "priorityClassName": pod.priority_class or "",
        "runtimeClassName": pod.runtime_class or "",
        "env": pods.plain(pod.env),
        "envFrom": pods.plain(pod.env_from),
        "volumes": pods.plain(pod.volumes),
        "volumeMounts": pods.plain(pod.volume_mounts),
    }


def _autoscaling(context: RenderContext) -> dict[str, Any]:
    settings = context.spec.kubernetes
    return {
        "minReplicas": settings.replicas,
        "maxReplicas": settings.max_replicas,
        "targetCPUUtilizationPercentage": settings.autoscaling.cpu_percent,
        "metrics": pods.plain(settings.autoscaling.metrics),
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }


def _probes(context: RenderContext) -> dict[str, Any]:
    startup = math.ceil(sizes.startup_seconds(context) / PROBE_PERIOD)
    return {
        "livenessPath": f"/v1/models/{context.models[0].name}",
        "startupProbe": {"periodSeconds": PROBE_PERIOD, "timeoutSeconds": 5, "failureThreshold": startup},
        "readinessProbe": {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {"periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "progressDeadlineSeconds": base.progress_deadline(context),
    }


def _routing(context: RenderContext) -> dict[str, Any]:
    host = components.host(context)
    secret = components.tls_secret(context)
    return {
        "httpRoute": {"annotations": {}, "parentRefs": [components.gateway(context)], "hostnames": [host]},
        "ingress": {
            "className": context.spec.kubernetes.ingress_class,
            "annotations": {},
            "hosts": [{"host": host}],
            "tls": [{"secretName": secret, "hosts": [host]}],
        },
    }


def _metrics(context: RenderContext) -> dict[str, Any]:
    settings = context.spec.kubernetes.service_monitor
    monitor = {"labels": dict(settings.labels), "interval": settings.interval}
    return {"path": context.spec.serving.monitoring_path, "serviceMonitor": monitor, **monitoring.values(context)}


def _canary(context: RenderContext) -> dict[str, Any]:
    return {
        "percent": context.spec.kubernetes.canary_percent,
        "models": LiteralScalarString(canary.server_config(context, "canary").to_text()),
        "state": list(canary.state(context, "canary")),
        "stableModels": LiteralScalarString(canary.server_config(context, "stable").to_text()),
        "stableState": list(canary.state(context, "stable")),
        "flags": canary.extra_flags(context),
    }


def _sources(context: RenderContext) -> dict[str, Any]:
    claim = context.spec.kubernetes.claim
    return {
        "persistence": {
            "existingClaim": claim.existing or "",
            "storageClass": claim.storage_class or "",
            "accessMode": claim.access_mode,
            "size": models.claim_size(context),
            "keep": claim.keep,
            "annotations": {},
            "fill": {},
        },
        "imageVolume": {"reference": models.volume_image(context), "pullPolicy": "IfNotPresent"},
        "bucket": {
            "image": context.spec.kubernetes.copy_image,
            "arguments": models.copy_arguments(context),
            "size": sizes.copy_size(context),
            "secretName": "",
            "port": models.store_port(context),
            "cloudIdentity": context.spec.kubernetes.storage_endpoint is None,
        },
        "registry": {
            "image": context.spec.kubernetes.pull_image,
            "reference": models.volume_image(context),
            "versions": models.fetched_versions(context),
            "size": sizes.pull_size(context),
            "secretName": models.pull_secret(context),
            "port": models.registry_port(context),
        },
    }


def _switch(context: RenderContext, result: dict[str, Any]) -> None:
    chosen = base.chosen_components(context)
    for component, (*path, key) in SWITCHES.items():
        section = result
        for name in path:
            section = section[name]
        section[key] = component in chosen
