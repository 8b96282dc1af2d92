"""chart/: a Helm chart of the same objects. Its templates are copied unchanged; its values are computed here."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ruamel.yaml.scalarstring import LiteralScalarString

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base, canary, components, models, sizes
from bundler.render.kubernetes.tree import TREE, Edit, ports, shipped
from bundler.spec.bundle_spec import COMPONENTS

PROBE_PERIOD = 5
"""periodSeconds of the startup probe in the chart's templates."""

_PORT_FLAGS = ("--port=", "--rest_api_port=")


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the chart, by path."""
    return {"chart/Chart.yaml": partial(_chart, context), "chart/values.yaml": partial(_values, context)}


def files() -> dict[str, str]:
    """Return path and text of the templates, the schema of the values, and .helmignore; they are the same for every bundle."""
    templates = sorted(path.name for path in (TREE / "chart" / "templates").iterdir())
    paths = ("chart/.helmignore", "chart/values.schema.json", *(f"chart/templates/{name}" for name in templates))
    return {path: shipped(path) for path in paths}


def _chart(context: RenderContext, document: Any) -> None:
    document["name"] = context.objects_name
    document["appVersion"] = context.tag


def _values(context: RenderContext, document: Any) -> None:
    settings = context.spec.kubernetes
    request, limit = sizes.memory(context)
    grpc, rest = ports(context)
    chosen = base.chosen_components(context)
    document.update(
        image=context.image,
        serverImage=context.spec.docker.reference,
        replicas=settings.replicas,
        maxReplicas=settings.max_replicas,
        livenessPath=f"/v1/models/{context.models[0].name}",
        startupFailureThreshold=math.ceil(sizes.startup_seconds(context) / PROBE_PERIOD),
        progressDeadlineSeconds=base.progress_deadline(context),
        monitoringPath=context.spec.serving.monitoring_path,
        host=components.host(context),
        gateway=components.gateway(context),
        ingressClass=settings.ingress_class,
        tlsSecret=components.tls_secret(context),
        gpus=settings.gpus,
        claimSize=sizes.claim_size(context),
        volumeImage=models.volume_image(context),
        copySize=sizes.copy_size(context),
    )
    document["ports"].update(grpc=grpc, rest=rest)
    document["components"].update({name: name in chosen for name in COMPONENTS})
    document["resources"]["requests"].update(cpu=settings.cpu, memory=request)
    document["resources"]["limits"]["memory"] = limit
    document["config"] = {
        name: LiteralScalarString(text) for name, text in tf_serving.config_files(context).items()
    }
    # The templates add the flags of the ports, which therefore follow `ports`.
    _replace(document["flags"], [flag for flag in base.pod_flags(context) if not flag.startswith(_PORT_FLAGS)])
    _replace(document["state"], tf_serving.state_targets(context))
    _replace(document["copyArguments"], models.copy_arguments(context))
    _canary(context, document["canary"])


def _canary(context: RenderContext, values: Any) -> None:
    values["percent"] = context.spec.kubernetes.canary_percent
    values["models"] = LiteralScalarString(canary.server_config(context, "canary").to_text())
    values["stableModels"] = LiteralScalarString(canary.server_config(context, "stable").to_text())
    _replace(values["state"], canary.state(context, "canary"))
    _replace(values["stableState"], canary.state(context, "stable"))
    _replace(values["flags"], canary.extra_flags(context))


def _replace(sequence: Any, items: Any) -> None:
    """Replace the items of a list in the document, and keep the comment that follows its last item.

    ruamel.yaml ties such a comment to the index of the last item.
    """
    comment = sequence.ca.items.pop(len(sequence) - 1, None)
    sequence[:] = list(items)
    if comment is not None and sequence:
        sequence.ca.items[len(sequence) - 1] = comment
