"""components/canary: a second Deployment beside the base's, each with one version of every model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base
from bundler.render.kubernetes.tree import INSTANCE, STATE_SCRIPT, Edit, ports, rename, set_image, shipped
from serving.config.model_server import ModelServerConfig
from serving.config.version_policy import Specific

Track = Literal["stable", "canary"]

_LABELS_FLAG = "--allow_version_labels_for_unavailable_models=true"


def edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle."""
    table: dict[str, Edit] = {
        "kustomization.yaml": partial(_kustomization, context),
        "deployment.yaml": partial(_deployment, context),
        "service.yaml": partial(_service, context),
        "stable.yaml": partial(_stable, context),
        "grpcroute.yaml": partial(_route, context, 0),
        "httproute.yaml": partial(_route, context, 1),
    }
    return {f"components/canary/{path}": edit for path, edit in table.items()}


def config_files(context: RenderContext) -> dict[str, str]:
    """File of the tree -> text: the stable pods' models.config, and all of the canary's configuration."""
    files = {f"config/{name}": text for name, text in tf_serving.config_files(context).items()}
    files["config/models.config"] = server_config(context, "canary").to_text()
    files["config/model-state.sh"] = shipped(STATE_SCRIPT)
    files["stable.config"] = server_config(context, "stable").to_text()
    return {f"components/canary/{path}": text for path, text in files.items()}


def versions(context: RenderContext, track: Track) -> dict[str, int]:
    """Model -> the version that the pods of a track serve.

    The one with the track's label; else the newest of those served for the canary, and the one before it for the stable
    track. A model of a single version is the same on both.
    """
    chosen = {}
    for model in context.models:
        labelled = context.spec.serving.labels.get(model.name, {}).get(track)
        asked = sorted(context.spec.serving.versions.get(model.name) or model.versions)
        fallback = asked[-1] if track == "canary" or len(asked) == 1 else asked[-2]
        chosen[model.name] = fallback if labelled is None else labelled
    return chosen


def server_config(context: RenderContext, track: Track) -> ModelServerConfig:
    """models.config of a track: one version a model, under the track's label."""
    chosen = versions(context, track)
    served = tf_serving.server_config(context).models
    return ModelServerConfig(
        tuple(replace(m, policy=Specific((chosen[m.name],)), labels={track: chosen[m.name]}) for m in served)
    )


def state(context: RenderContext, track: Track) -> tuple[str, ...]:
    """What must be AVAILABLE in a pod of the track, as model-state.sh takes it."""
    return tuple(f"{name}/versions/{version}" for name, version in versions(context, track).items())


def extra_flags(context: RenderContext) -> list[str]:
    """Flags that both tracks need beside those of the base: labels, where the base has none."""
    return [] if tf_serving.has_labels(context) else [_LABELS_FLAG]


def weights(context: RenderContext) -> tuple[int, int]:
    """Share of the requests, in percent, of the stable pods and of the canary."""
    share = context.spec.kubernetes.canary_percent
    return 100 - share, share


def _labels(context: RenderContext, labels: Any) -> None:
    labels[INSTANCE] = context.objects_name


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(document, context.objects_name)
    set_image(document["images"][0], context.image)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    document["configMapGenerator"][1]["files"][:] = [f"config/{name}" for name in names]


def _service(context: RenderContext, document: Any) -> None:
    base.service(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    _labels(context, document["metadata"]["labels"])
    _labels(context, document["spec"]["selector"])


def _deployment(context: RenderContext, document: Any) -> None:
    """The base's Deployment, which the shipped file has to begin with; only what is the canary's own differs."""
    base.deployment(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    document["spec"]["replicas"] = 1
    template = document["spec"]["template"]
    for labels in (document["metadata"]["labels"], document["spec"]["selector"]["matchLabels"]):
        _labels(context, labels)
    _labels(context, template["metadata"]["labels"])
    template["spec"]["volumes"][0]["configMap"]["name"] = f"{context.objects_name}-canary-config"
    container = template["spec"]["containers"][0]
    container["args"][:] = [*base.pod_flags(context), *extra_flags(context)]
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][:] = base.state_command(context, state(context, "canary"))


def _stable(context: RenderContext, document: Any) -> None:
    for patch in document[:2]:
        patch["value"][:] = base.state_command(context, state(context, "stable"))
    if tf_serving.has_labels(context):  # the base has the flag already
        del document[2]


def _route(context: RenderContext, port: int, document: Any) -> None:
    rename(document, context.objects_name)
    weight, canary, named = document
    weight["value"], canary["value"]["weight"] = weights(context)
    canary["value"]["port"] = named["value"]["backendRefs"][0]["port"] = ports(context)[port]
