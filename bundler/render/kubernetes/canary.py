"""components/canary: a second Deployment next to the base's. Each of the two serves one version of every model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base
from bundler.render.kubernetes.tree import INSTANCE, Edit, ports, rename, set_image
from serving.config.model_server import ModelServerConfig
from serving.config.version_policy import Specific

Track = Literal["stable", "canary"]

_LABELS_FLAG = "--allow_version_labels_for_unavailable_models=true"


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the component, by path."""
    own = {
        "kustomization": _kustomization, "deployment": _deployment, "service": _service, "stable": _stable, "httproute": _route,
    }  # fmt: skip
    return {f"components/canary/{name}.yaml": partial(edit, context) for name, edit in own.items()}


def config_files(context: RenderContext) -> dict[str, str]:
    """Return path and text of each config file: models.config of the stable pods, and all files of the canary's pods."""
    files = {f"config/{name}": text for name, text in tf_serving.config_files(context).items()}
    files["config/models.config"] = server_config(context, "canary").to_text()
    files["stable.config"] = server_config(context, "stable").to_text()
    return {f"components/canary/{path}": text for path, text in files.items()}


def versions(context: RenderContext, track: Track) -> dict[str, int]:
    """Return the version of each model that the pods of a track serve, by model name.

    This is the version with the track's label. Without such a label, the canary serves the newest version and the stable
    track the one before it, or the same if there is only one.
    """
    chosen = {}
    for model in context.models:
        labelled = context.spec.serving.labels.get(model.name, {}).get(track)
        candidates = sorted(context.spec.serving.versions.get(model.name) or model.versions)
        fallback = candidates[-1] if track == "canary" or len(candidates) == 1 else candidates[-2]
        chosen[model.name] = fallback if labelled is None else labelled
    return chosen


def server_config(context: RenderContext, track: Track) -> ModelServerConfig:
    """Return the content of a track's models.config: one version per model, under the track's label."""
    chosen = versions(context, track)
    served = tf_serving.server_config(context).models
    return ModelServerConfig(
        tuple(replace(m, policy=Specific((chosen[m.name],)), labels={track: chosen[m.name]}) for m in served)
    )


def state(context: RenderContext, track: Track) -> tuple[str, ...]:
    """Return what must be AVAILABLE in a pod of the track, as arguments of model-state.sh."""
    return tuple(f"{name}/versions/{version}" for name, version in versions(context, track).items())


def extra_flags(context: RenderContext) -> list[str]:
    """Return the flags that both tracks need besides those of the base: the one for labels, unless the base has it."""
    return [] if tf_serving.has_labels(context) else [_LABELS_FLAG]


def weights(context: RenderContext) -> tuple[int, int]:
    """Return the shares of requests that go to the stable pods and to the canary, in percent."""
    share = context.spec.kubernetes.canary_percent
    return 100 - share, share


def _set_instance(context: RenderContext, labels: Any) -> None:
    labels[INSTANCE] = context.objects_name


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_image(document["images"][0], context.image)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    document["configMapGenerator"][1]["files"][:] = [f"config/{name}" for name in names]


def _service(context: RenderContext, document: Any) -> None:
    base.service(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    _set_instance(context, document["metadata"]["labels"])
    _set_instance(context, document["spec"]["selector"])


def _deployment(context: RenderContext, document: Any) -> None:
    """Edit the canary's Deployment: as the base's, except for name, labels, replicas, config, flags and probes."""
    base.deployment(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    document["spec"]["replicas"] = 1
    template = document["spec"]["template"]
    for labels in (document["metadata"]["labels"], document["spec"]["selector"]["matchLabels"]):
        _set_instance(context, labels)
    _set_instance(context, template["metadata"]["labels"])
    for constraint in template["spec"]["topologySpreadConstraints"]:
        _set_instance(context, constraint["labelSelector"]["matchLabels"])
    template["spec"]["volumes"][0]["configMap"]["name"] = f"{context.objects_name}-canary-config"
    container = template["spec"]["containers"][0]
    container["args"][:] = [*base.pod_flags(context), *extra_flags(context)]
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][:] = base.state_command(context, state(context, "canary"))


def _stable(context: RenderContext, document: Any) -> None:
    for patch in document[:2]:
        patch["value"][:] = base.state_command(context, state(context, "stable"))
    if tf_serving.has_labels(context):  # the base already has the flag
        del document[2]


def _route(context: RenderContext, document: Any) -> None:
    rename(context, document)
    shares, by_header = (document[0:2], document[2:4]), document[4:]
    for (stable_weight, canary_backend), rule, port in zip(shares, by_header, ports(context), strict=True):
        stable_weight["value"], canary_backend["value"]["weight"] = weights(context)
        canary_backend["value"]["port"] = rule["value"]["backendRefs"][0]["port"] = port
