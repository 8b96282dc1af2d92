"""base/ and overlays/: the objects that every bundle needs, and two overlays that are ready to apply."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import pods
from bundler.render.kubernetes.sizes import cpu_limit, startup_seconds
from bundler.render.kubernetes.tree import INSTANCE, VERSION, Edit, ports, set_image, set_namespace
from bundler.spec.kubernetes_spec import COMPONENTS

CONNECTION_AGE = "--grpc_channel_arguments=grpc.max_connection_age_ms=10000"
"""Server flag that makes clients reconnect after 10 s, once calls in flight have ended (gRFC A9).

Connections therefore spread over all pods. They also leave a terminating pod before its server is killed; the server itself
drains nothing.
"""

_BEFORE_START = 600
"""Seconds for a pod to be scheduled, which may need a new node, and to pull its image."""


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the tree, by path."""
    own_account: dict[str, Edit] = {}
    if context.spec.kubernetes.pod.service_account is None:
        own_account["base/serviceaccount.yaml"] = partial(_account, context)
    return own_account | {
        "base/kustomization.yaml": partial(_base, context),
        "base/service.yaml": partial(service, context),
        "base/deployment.yaml": partial(deployment, context),
        "overlays/dev/kustomization.yaml": partial(_dev, context),
        "overlays/prod/kustomization.yaml": partial(_prod, context),
    }


def chosen_components(context: RenderContext) -> list[str]:
    """Return the components of the overlay prod, in the order in which they build on each other."""
    chosen = set(context.spec.kubernetes.components)
    if not context.spec.serving.monitoring:
        chosen -= {"metrics", "service-monitor", "alerts", "dashboard"}
    return [name for name in COMPONENTS if name in chosen]


def config_name(context: RenderContext) -> str:
    """Return the name of the base's ConfigMap, without the hash that kustomize appends."""
    return f"{context.objects_name}-config"


def _set_name(context: RenderContext, document: Any) -> None:
    document["metadata"]["name"] = context.objects_name


def _account(context: RenderContext, document: Any) -> None:
    _set_name(context, document)
    if annotations := context.spec.kubernetes.pod.service_account_annotations:
        document["metadata"]["annotations"] = dict(annotations)


def _base(context: RenderContext, document: Any) -> None:
    _set_labels(context, document)
    if context.spec.kubernetes.pod.service_account is not None:
        document["resources"].remove("serviceaccount.yaml")
    set_image(document["images"][0], context.image)
    config = document["configMapGenerator"][0]
    config["name"] = config_name(context)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    config["files"][:] = [f"config/{name}" for name in names]


def _set_labels(context: RenderContext, document: Any) -> None:
    document["labels"][0]["pairs"].update({INSTANCE: context.objects_name, VERSION: context.version_label})


def service(context: RenderContext, document: Any) -> None:
    """Set name, selector and ports of a Service."""
    _set_name(context, document)
    document["spec"]["selector"][INSTANCE] = context.objects_name
    for port, number in zip(document["spec"]["ports"], ports(context), strict=True):
        port["port"] = number


def deployment(context: RenderContext, document: Any) -> None:
    """Set everything in a Deployment that depends on the bundle."""
    _set_name(context, document)
    document["spec"]["replicas"] = context.spec.kubernetes.replicas
    document["spec"]["progressDeadlineSeconds"] = progress_deadline(context)
    template = document["spec"]["template"]
    for labels in (
        document["metadata"]["labels"], document["spec"]["selector"]["matchLabels"], template["metadata"]["labels"],
        *(rule["labelSelector"]["matchLabels"] for rule in template["spec"]["topologySpreadConstraints"]),
    ):  # fmt: skip
        labels[INSTANCE] = context.objects_name
    template["spec"]["volumes"][0]["configMap"]["name"] = config_name(context)
    _container(context, template["spec"]["containers"][0])
    pods.set_pod(context, template)


def progress_deadline(context: RenderContext) -> int:
    """Return after how many seconds without a ready pod a rollout has failed: its start-up time, and 10 minutes before that.

    Kubernetes' default, 600 s, would end before a pod with large models is ready.
    """
    return startup_seconds(context) + _BEFORE_START


def state_command(context: RenderContext, targets: tuple[str, ...]) -> list[str]:
    """Return the command of the probes, which succeeds when all targets are AVAILABLE."""
    script = f"{tf_serving.CONFIG_DIR}/model-state.sh"
    return ["bash", script, str(context.spec.serving.rest_port), *targets]


def pod_flags(context: RenderContext) -> tuple[str, ...]:
    """Return the flags of the server in a pod."""
    return (*tf_serving.server_flags(context, cores=cpu_limit(context)), CONNECTION_AGE)


def _container(context: RenderContext, container: Any) -> None:
    container["args"][:] = pod_flags(context)
    for port, number in zip(container["ports"], ports(context), strict=True):
        port["containerPort"] = number
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][2:] = state_command(context, tf_serving.state_targets(context))[2:]
    startup = container["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(context) / startup["periodSeconds"])
    container["livenessProbe"]["httpGet"]["path"] = f"/v1/models/{context.models[0].name}"


def _dev(context: RenderContext, document: Any) -> None:
    set_namespace(context, document)
    document["labels"][0]["pairs"][INSTANCE] = f"{context.objects_name}-dev"
    document["replicas"][0]["name"] = context.objects_name
    document["patches"][0]["target"]["name"] = context.objects_name


def _prod(context: RenderContext, document: Any) -> None:
    set_namespace(context, document)
    _set_labels(context, document)
    names = [f"../../components/{name}" for name in chosen_components(context)]
    if names:
        document["components"][:] = names
    else:
        del document["components"]
