"""docker/: an image with server, models and configuration, and a compose file that runs it.

The build context is the bundle's folder: `docker compose -f docker/compose.yaml up --build`, or
`docker build -f docker/Dockerfile -t NAME:TAG .`.
"""

from __future__ import annotations

import json
from pathlib import Path

from bundler.layout import BundleLayout
from bundler.render import RenderContext, kubernetes, tf_serving
from bundler.render.files import read_template, read_yaml, render_template, write_files, write_yaml

USER = "10001:10001"
"""User and group of the server: none that the image knows, and not 0."""

SCRIPT = "/usr/local/bin/model-state.sh"
"""Where the image has the script that reads the models' state."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write docker/: Dockerfile, Dockerfile.dockerignore, compose.yaml and model-state.sh.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    files = {
        "Dockerfile": _dockerfile(context),
        "Dockerfile.dockerignore": _dockerignore(context),
        "compose.yaml": _compose(context),
        "model-state.sh": (kubernetes.TREE / kubernetes.STATE_SCRIPT).read_text("utf-8"),
    }
    return write_files(BundleLayout(folder).docker_dir, files)


def healthcheck(context: RenderContext) -> list[str]:
    """The command that succeeds when every model is AVAILABLE; the image has bash and no curl."""
    return ["bash", SCRIPT, str(context.spec.serving.rest_port), *tf_serving.state_targets(context)]


def _dockerfile(context: RenderContext) -> str:
    return render_template(
        "Dockerfile.j2",
        base=context.spec.docker.reference,
        labels=_labels(context),
        folders=_version_folders(context),
        configs=sorted(tf_serving.config_files(context)),
        models_dir=tf_serving.MODELS_DIR,
        config_dir=tf_serving.CONFIG_DIR,
        script=SCRIPT,
        user=USER,
        ports=(context.spec.serving.grpc_port, context.spec.serving.rest_port),
        start_seconds=kubernetes.startup_seconds(context),
        healthcheck=_exec(healthcheck(context)),
        entrypoint=_exec(["tensorflow_model_server"]),
        flags=[json.dumps(flag) for flag in tf_serving.server_flags(context)],
    )


def _exec(command: list[str]) -> str:
    """A command in exec form: a JSON array, so that no shell stands between Docker and the process."""
    return json.dumps(command)


def _labels(context: RenderContext) -> dict[str, str]:
    """OCI image labels (opencontainers/image-spec, annotations.md), values quoted for a Dockerfile."""
    models = ", ".join(f"{model.name} {model.latest}" for model in context.models)
    values = {
        "title": context.name,
        "description": f"TensorFlow Serving with {models}",
        "version": context.tag,
        "base.name": f"{context.spec.docker.image}:{context.spec.docker.tag}",
    }
    if context.spec.docker.digest:
        values["base.digest"] = context.spec.docker.digest
    return {f"org.opencontainers.image.{key}": json.dumps(value) for key, value in values.items()}


def _version_folders(context: RenderContext) -> list[str]:
    """`<model>/<version>` of what the image carries: all versions, so that labels can move back."""
    return [f"{model.name}/{version}" for model in context.models for version in model.versions]


def _dockerignore(context: RenderContext) -> str:
    wanted = [f"models/{folder}" for folder in _version_folders(context)]
    wanted += [f"serving/{name}" for name in sorted(tf_serving.config_files(context))]
    lines = ["# Written by tfbundle: nothing but what the Dockerfile copies is sent to the builder.", "*"]
    return "\n".join([*lines, *(f"!{path}" for path in wanted), "!docker/model-state.sh", ""])


def _compose(context: RenderContext) -> str:
    document = read_yaml(read_template("compose.yaml"))
    document["name"] = context.name
    server = document["services"]["serving"]
    server["image"] = context.image
    for index, port in enumerate((context.spec.serving.grpc_port, context.spec.serving.rest_port)):
        server["ports"][index] = f"127.0.0.1:{port}:{port}"
    check = server["healthcheck"]
    check["start_period"] = f"{kubernetes.startup_seconds(context)}s"
    check["test"][1:] = healthcheck(context)
    return write_yaml(document)
