"""A bundle's settings in the form in which `serving.launch` starts a server."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from bundler.errors import UsageError
from bundler.render import RenderContext, docker, tf_serving
from bundler.spec.bundle_spec import parse_spec
from bundler.validation.bundle import Bundle
from serving.launch import Deployment, DockerSettings


def deployment(
    bundle: Bundle, context: RenderContext, *, host: str, grpc_port: int | None, rest_port: int | None
) -> Deployment:
    """Return the deployment that the bundle's settings describe, with the given ports or else the bundle's own.

    Args:
        bundle: The bundle.
        context: Its render context.
        host: Address to listen on.
        grpc_port: Port for gRPC; None is the bundle's own.
        rest_port: Port for REST; None is the bundle's own.

    Raises:
        UsageError: Both ports are the same.
        SpecError: The settings name a model, version or label that does not exist.
    """
    spec = bundle.manifest.spec
    ports = {"grpc_port": grpc_port or spec["serving"]["grpc_port"], "rest_port": rest_port or spec["serving"]["rest_port"]}
    if ports["grpc_port"] == ports["rest_port"]:
        raise UsageError(
            f"gRPC and REST cannot both have port {ports['grpc_port']}.",
            fix="set --port and --rest-port to different ports",
            code="TFB6004",
        )
    context = replace(context, spec=parse_spec({**spec, "serving": {**spec["serving"], **ports}}, where="bundle.json"))
    return Deployment(
        bundle.path,
        context.name,
        tf_serving.served_versions(context),
        host,
        ports["grpc_port"],
        ports["rest_port"],
        partial(tf_serving.server_flags, context),
        partial(tf_serving.config_files, context),
    )


def docker_settings(
    context: RenderContext, *, image: str | None, user: str | None, memory: str, cpus: str
) -> DockerSettings:
    """Return the settings for a container: the given image or else the bundle's, and the paths inside it."""
    return DockerSettings(
        image or context.spec.docker.reference,
        tf_serving.MODELS_DIR,
        tf_serving.CONFIG_DIR,
        user or _user(),
        memory,
        cpus,
    )


def _user() -> str:
    """Return the current user, who can read the bundle; for root, return the image's unprivileged user instead."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else docker.USER
