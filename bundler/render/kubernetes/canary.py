"""components/canary: a second Deployment next to the base's. Each of the two serves one version of every model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from bundler.errors import SpecError
from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base
from bundler.render.kubernetes.tree import INSTANCE, Edit, ports, rename, set_image
from serving.config.model_server import ModelServerConfig
from serving.config.version_policy import Specific

Track = Literal["stable", "canary"]

TRACKS: tuple[Track, ...] = ("canary", "stable")

GRPC_PATHS = (
    ("PathPrefix", "/tensorflow.serving.PredictionService"),
    ("Exact", "/tensorflow.serving.ModelService/GetModelStatus"),
)
"""Methods that a route exposes. HandleReloadConfigRequest, which could replace the models, is not one of them."""

REST_PATH = ("PathPrefix", "/v1/models")

MATCHES_PER_RULE = 64
"""Limit of the Gateway API (apis/v1/httproute_types.go)."""

MATCHES_PER_ROUTE = 128
"""Limit of the Gateway API for all rules of a route together (apis/v1/httproute_types.go, a CEL rule of HTTPRouteSpec)."""

_REST_METHODS = ("predict", "classify", "regress")

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
    """Return the content of a track's models.config: one version per model, under its labels."""
    chosen, names = versions(context, track), labels(context, track)
    served = tf_serving.server_config(context).models
    return ModelServerConfig(
        tuple(
            replace(m, policy=Specific((chosen[m.name],)), labels=dict.fromkeys(names[m.name], chosen[m.name])) for m in served
        )
    )


def labels(context: RenderContext, track: Track) -> dict[str, list[str]]:
    """Return the labels of a track's version of each model: the track's name, and all others that point to the version."""
    found = {}
    for name, version in versions(context, track).items():
        others = {label for label, number in context.spec.serving.labels.get(name, {}).items() if number == version}
        found[name] = [track, *sorted(others - set(TRACKS))]
    return found


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


def route_matches(context: RenderContext, track: Track) -> dict[str, list[dict[str, Any]]]:
    """Return the requests that name a track or its version and so must go to its pods, as matches of an HTTPRoute.

    The pods of a track serve one version under one label, so the other track would answer such a request with an error. The
    path of a REST request names the label or the version. That of a gRPC request does not, so its client sends a header; the
    clients of tfbundle do. A header does not name the model, so it is used only if its label or version belongs to one track
    for all models.

    Returns:
        The matches of `grpc` and of `rest`.
    """
    other: Track = "stable" if track == "canary" else "canary"
    chosen, others = versions(context, track), versions(context, other)
    names, other_names = labels(context, track), labels(context, other)
    own_labels = {label for model in names.values() for label in model} - {label for m in other_names.values() for label in m}
    headers = [("x-model-label", label) for label in sorted(own_labels)]
    headers += [("x-model-version", str(number)) for number in sorted(set(chosen.values()) - set(others.values()))]
    matches: dict[str, list[dict[str, Any]]] = {
        "grpc": [_match(*path, header) for header in headers for path in GRPC_PATHS],
        "rest": [_match(*REST_PATH, header) for header in headers],
    }
    for name, number in chosen.items():
        targets = [f"labels/{label}" for label in names[name] if label not in other_names[name]]
        targets += [f"versions/{number}"] if number != others[name] else []
        for target in targets:
            path = f"{REST_PATH[1]}/{name}/{target}"
            matches["rest"] += [_match("PathPrefix", path), *(_match("Exact", f"{path}:{method}") for method in _REST_METHODS)]
    return matches


def check_route(context: RenderContext) -> None:
    """Check that the routes of both tracks fit into one HTTPRoute.

    Raises:
        SpecError: The bundle has too many models for a canary behind a Gateway.
    """
    found = [route_matches(context, track) for track in TRACKS]
    total = len(GRPC_PATHS) + 1 + sum(len(matches) for track in found for matches in track.values())
    longest = max(len(matches) for track in found for matches in track.values())
    if total >= MATCHES_PER_ROUTE or longest > MATCHES_PER_RULE:
        raise SpecError(
            f"A canary behind a Gateway needs {total} matches for {len(context.models)} models, but an HTTPRoute has room for "
            f"{MATCHES_PER_ROUTE - 1}, and {MATCHES_PER_RULE} in a rule.",
            where="'kubernetes.components' in bundle.yaml",
            fix="build bundles with at most 7 models each, or leave out canary or gateway",
            code="TFB1105",
        )


def _match(kind: str, path: str, header: tuple[str, str] | None = None) -> dict[str, Any]:
    match: dict[str, Any] = {"path": {"type": kind, "value": path}}
    if header:
        match["headers"] = [{"name": header[0], "value": header[1]}]
    return match


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_image(document["images"][0], context.image)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    document["configMapGenerator"][1]["files"][:] = [f"config/{name}" for name in names]


def _service(context: RenderContext, document: Any) -> None:
    base.service(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    document["metadata"]["labels"][INSTANCE] = context.objects_name


def _deployment(context: RenderContext, document: Any) -> None:
    """Edit the canary's Deployment: as the base's, except for name, labels, replicas, config, flags and probes."""
    base.deployment(context, document)
    document["metadata"]["name"] = f"{context.objects_name}-canary"
    document["spec"]["replicas"] = 1
    template = document["spec"]["template"]
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
    if {"canary", "gateway"} <= set(context.spec.kubernetes.components):
        check_route(context)
    shares, own = (document[0:2], document[2:4]), iter(document[4:])
    for (stable_weight, canary_backend), port in zip(shares, ports(context), strict=True):
        stable_weight["value"], canary_backend["value"]["weight"] = weights(context)
        canary_backend["value"]["port"] = port
    matches = {track: route_matches(context, track) for track in TRACKS}
    for protocol, port in zip(("grpc", "rest"), ports(context), strict=True):
        for track in TRACKS:
            rule = next(own)["value"]
            rule["matches"] = matches[track][protocol]
            rule["backendRefs"][0]["port"] = port
