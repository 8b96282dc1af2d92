"""base/ and overlays/: the objects that every bundle has, and the two overlays that are ready to apply."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes.sizes import memory, startup_seconds
from bundler.render.kubernetes.tree import INSTANCE, Edit, ports, set_image
from bundler.spec.bundle_spec import COMPONENTS

CONNECTION_AGE = "--grpc_channel_arguments=grpc.max_connection_age_ms=10000"
"""Tells clients after 10 s to connect anew (gRFC A9); calls in flight end first.

So connections spread over the pods, and leave a pod that is going before its server, which drains nothing, is ended.
"""


def edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle."""
    return {
        "base/kustomization.yaml": partial(_base, context),
        "base/serviceaccount.yaml": partial(_named, context),
        "base/service.yaml": partial(service, context),
        "base/deployment.yaml": partial(deployment, context),
        "overlays/dev/kustomization.yaml": partial(_dev, context),
        "overlays/prod/kustomization.yaml": partial(_prod, context),
    }


def chosen_components(context: RenderContext) -> list[str]:
    """Components of the overlay prod, in the order in which they build on each other."""
    chosen = set(context.spec.kubernetes.components)
    if not context.spec.serving.monitoring:
        chosen -= {"metrics", "service-monitor"}
    return [name for name in COMPONENTS if name in chosen]


def config_name(context: RenderContext) -> str:
    return f"{context.objects_name}-config"


def _named(context: RenderContext, document: Any) -> None:
    document["metadata"]["name"] = context.objects_name


def _base(context: RenderContext, document: Any) -> None:
    document["labels"][0]["pairs"][INSTANCE] = context.objects_name
    set_image(document["images"][0], context.image)
    config = document["configMapGenerator"][0]
    config["name"] = config_name(context)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    config["files"][:] = [f"config/{name}" for name in names]


def service(context: RenderContext, document: Any) -> None:
    _named(context, document)
    for port, number in zip(document["spec"]["ports"], ports(context), strict=True):
        port["port"] = number


def deployment(context: RenderContext, document: Any) -> None:
    _named(context, document)
    document["spec"]["replicas"] = context.spec.kubernetes.replicas
    pod = document["spec"]["template"]["spec"]
    pod["serviceAccountName"] = context.objects_name
    pod["volumes"][0]["configMap"]["name"] = config_name(context)
    _container(context, pod["containers"][0])


def state_command(context: RenderContext, targets: tuple[str, ...]) -> list[str]:
    """The probes' command: every model named is AVAILABLE."""
    script = f"{tf_serving.CONFIG_DIR}/model-state.sh"
    return ["bash", script, str(context.spec.serving.rest_port), *targets]


def pod_flags(context: RenderContext) -> tuple[str, ...]:
    """Flags of the server in a pod."""
    return (*tf_serving.server_flags(context), CONNECTION_AGE)


def _container(context: RenderContext, container: Any) -> None:
    container["args"][:] = pod_flags(context)
    for port, number in zip(container["ports"], ports(context), strict=True):
        port["containerPort"] = number
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][2:] = state_command(context, tf_serving.state_targets(context))[2:]
    startup = container["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(context) / startup["periodSeconds"])
    container["livenessProbe"]["httpGet"]["path"] = f"/v1/models/{context.models[0].name}"
    request, limit = memory(context)
    container["resources"]["requests"].update(cpu=context.spec.kubernetes.cpu, memory=request)
    container["resources"]["limits"]["memory"] = limit


def _dev(context: RenderContext, document: Any) -> None:
    document["namespace"] = context.spec.kubernetes.namespace
    document["labels"][0]["pairs"][INSTANCE] = f"{context.objects_name}-dev"
    document["replicas"][0]["name"] = context.objects_name
    document["patches"][0]["target"]["name"] = context.objects_name


def _prod(context: RenderContext, document: Any) -> None:
    document["namespace"] = context.spec.kubernetes.namespace
    document["labels"][0]["pairs"][INSTANCE] = context.objects_name
    names = [f"../../components/{name}" for name in chosen_components(context)]
    if names:
        document["components"][:] = names
    else:
        del document["components"]
