"""A bundle as the run side launches it."""

from __future__ import annotations

import os
from functools import partial

from bundler.errors import UsageError
from bundler.render import RenderContext, docker, tf_serving
from bundler.render.parts import render_context
from bundler.spec.bundle_spec import parse_spec
from bundler.validation.bundle import Bundle
from serving.launch import Deployment, DockerSettings


def deployment(bundle: Bundle, *, host: str, grpc_port: int | None, rest_port: int | None) -> Deployment:
    """What the bundle's settings serve, at its own ports or those given.

    Raises:
        UsageError: both ports are the same.
        SpecError: the settings ask for a model, version or label that there is not.
    """
    spec = bundle.manifest.spec
    ports = {"grpc_port": grpc_port or spec["serving"]["grpc_port"], "rest_port": rest_port or spec["serving"]["rest_port"]}
    if ports["grpc_port"] == ports["rest_port"]:
        raise UsageError(
            f"gRPC and REST cannot both have port {ports['grpc_port']}.", fix="give --port and --rest-port two numbers"
        )
    context = render_context(bundle.name, bundle.manifest)
    changed = parse_spec({**spec, "serving": {**spec["serving"], **ports}}, where="bundle.json")
    context = RenderContext(context.name, changed, context.models, context.manifest)
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


def docker_settings(bundle: Bundle, *, image: str | None, user: str | None, memory: str, cpus: str) -> DockerSettings:
    """The image that the bundle names (or another), and the paths in it."""
    pinned = render_context(bundle.name, bundle.manifest).spec.docker.reference
    return DockerSettings(
        image or pinned, tf_serving.MODELS_DIR, tf_serving.CONFIG_DIR, user or _reader(), memory, cpus
    )


def _reader() -> str:
    """Who runs tfbundle can read the bundle. Not root, though: the image's own server needs no rights."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else docker.USER
