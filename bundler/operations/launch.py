"""A bundle as the run side launches it."""

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
    """Return the deployment of what the bundle's settings serve.

    Args:
        bundle: the bundle.
        context: its render context.
        host: address to listen on.
        grpc_port: None: the bundle's own.
        rest_port: None: the bundle's own.

    Raises:
        UsageError: both ports are the same.
        SpecError: the settings name a model, version or label that does not exist.
    """
    spec = bundle.manifest.spec
    ports = {"grpc_port": grpc_port or spec["serving"]["grpc_port"], "rest_port": rest_port or spec["serving"]["rest_port"]}
    if ports["grpc_port"] == ports["rest_port"]:
        raise UsageError(
            f"gRPC and REST cannot both have port {ports['grpc_port']}.", fix="give --port and --rest-port two numbers"
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
    """Return the settings for Docker: `image` or the bundle's own, the paths in it, the user and the limits."""
    return DockerSettings(
        image or context.spec.docker.reference,
        tf_serving.MODELS_DIR,
        tf_serving.CONFIG_DIR,
        user or _reader(),
        memory,
        cpus,
    )


def _reader() -> str:
    """Who runs tfbundle can read the bundle. Not root, though: the image's own server needs no rights."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else docker.USER
