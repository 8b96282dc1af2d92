"""chart/: a Helm chart of the same objects; its templates are the tree's, its values are computed here."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ruamel.yaml.scalarstring import LiteralScalarString

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base, canary, components, models, sizes
from bundler.render.kubernetes.tree import STATE_SCRIPT, TREE, Edit, ports, shipped
from bundler.spec.bundle_spec import COMPONENTS

PROBE_PERIOD = 5
"""periodSeconds of the startup probe in the chart's template."""


def edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle."""
    return {"chart/Chart.yaml": partial(_chart, context), "chart/values.yaml": partial(_values, context)}


def files() -> dict[str, str]:
    """File of the tree -> text: the templates, the same for every bundle, and the scripts that they mount."""
    templates = sorted(path.name for path in (TREE / "chart" / "templates").iterdir())
    texts = {f"chart/templates/{name}": shipped(f"chart/templates/{name}") for name in templates}
    texts["chart/files/model-state.sh"] = shipped(STATE_SCRIPT)
    texts["chart/files/ssl-config.sh"] = shipped("components/tls/ssl-config.sh")
    return texts


def _chart(context: RenderContext, document: Any) -> None:
    document["name"] = context.objects_name
    document["appVersion"] = context.tag


def _values(context: RenderContext, document: Any) -> None:
    settings = context.spec.kubernetes
    request, limit = sizes.memory(context)
    grpc, rest = ports(context)
    chosen = base.chosen_components(context)
    document.update(
        name=context.objects_name,
        image=context.image,
        serverImage=context.spec.docker.reference,
        replicas=settings.replicas,
        maxReplicas=settings.max_replicas,
        livenessPath=f"/v1/models/{context.models[0].name}",
        startupFailureThreshold=math.ceil(sizes.startup_seconds(context) / PROBE_PERIOD),
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
    _replace(document["flags"], base.pod_flags(context))
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


def _replace(known: Any, wanted: Any) -> None:
    """New items in a list of the document, without the comment that stands behind its last one getting lost.

    ruamel.yaml ties such a comment to the last item's index.
    """
    comment = known.ca.items.pop(len(known) - 1, None)
    known[:] = list(wanted)
    if comment is not None and known:
        known.ca.items[len(known) - 1] = comment
