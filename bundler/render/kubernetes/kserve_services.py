"""The InferenceServices of kserve/: one per model, or two with the component canary, each with its models.config.

KServe splits traffic between two revisions of an InferenceService (`canaryTrafficPercent`) only with Knative
(pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go); in the mode RawDeployment the field has no
effect. So a canary is an InferenceService of its own, and an HTTPRoute splits the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bundler.render import RenderContext, RenderedModel, dns_label, dns_labels, short_hash, tf_serving
from bundler.render.kubernetes import canary
from bundler.render.kubernetes.storage import Storage
from serving.config.model_server import ModelServerConfig

CANARY_REPLICAS = 1
"""Pods of a canary, as in components/canary."""


@dataclass(frozen=True)
class Service:
    """An InferenceService.

    Attributes:
        name: its name.
        model: the model.
        track: `stable` or `canary` if the component canary is chosen; None if one service serves all versions.
        context: a bundle with only this model, and with settings that serve only the versions of this service.
    """

    name: str
    model: RenderedModel
    track: canary.Track | None
    context: RenderContext

    @property
    def replicas(self) -> int:
        """The smallest number of pods."""
        return CANARY_REPLICAS if self.track == "canary" else self.context.spec.kubernetes.replicas

    @property
    def config_name(self) -> str:
        """The name of its models.config among the files of the runtime's ConfigMap."""
        return f"models-{self.name}.config"

    def config(self, storage: Storage) -> ModelServerConfig:
        """Return the content of its models.config: the versions and labels that the service has, in KServe's folder."""
        return ModelServerConfig(
            tuple(replace(model, base_path=storage.base_path) for model in tf_serving.server_config(self.context).models)
        )


def services(context: RenderContext) -> list[Service]:
    """Return the InferenceServices of a bundle, by model.

    With the component canary, a model with two versions to serve has two: the stable one, then the canary.

    Raises:
        SpecError: The settings name a model, version or label that does not exist.
    """
    tf_serving.server_config(context)
    names = dns_labels(model.name for model in context.models)
    wants_canary = "canary" in context.spec.kubernetes.components
    found = []
    for model in context.models:
        name, single = names[model.name], only(context, model)
        if wants_canary and canary.versions(single, "stable") != canary.versions(single, "canary"):
            other = _free(f"{name}-canary", names.values())
            found.append(Service(name, model, "stable", _on_track(single, model, "stable")))
            found.append(Service(other, model, "canary", _on_track(single, model, "canary")))
        else:
            found.append(Service(name, model, None, single))
    return found


def port_names(found: list[Service]) -> dict[str, str]:
    """Return the name of the Kubernetes Service with both ports, by the name of its InferenceService."""
    taken = {service.name for service in found}
    return {name: _free(f"{name}-server", taken) for name in taken}


def _free(wanted: str, taken: Iterable[str]) -> str:
    """Return a name for an object: the wanted one, unless the InferenceService of another model has it."""
    label = dns_label(wanted)
    return dns_label(f"{wanted}-{short_hash(wanted)}") if label in set(taken) else label


def only(context: RenderContext, model: RenderedModel) -> RenderContext:
    """Return the context of a bundle with only this model, and with its settings."""
    serving = context.spec.serving
    own = {
        "labels": {name: value for name, value in serving.labels.items() if name == model.name},
        "versions": {name: value for name, value in serving.versions.items() if name == model.name},
    }
    return replace(context, models=(model,), spec=context.spec.model_copy(update={"serving": serving.model_copy(update=own)}))


def _on_track(single: RenderContext, model: RenderedModel, track: canary.Track) -> RenderContext:
    """Return the context of a bundle with only a track's version of its only model, under the labels of the track."""
    version = canary.versions(single, track)[model.name]
    labels = dict.fromkeys(canary.labels(single, track)[model.name], version)
    own = {"labels": {model.name: labels}, "versions": {model.name: (version,)}}
    serving = single.spec.serving.model_copy(update=own)
    return replace(single, spec=single.spec.model_copy(update={"serving": serving}))
