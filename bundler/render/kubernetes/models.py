"""components/models-*: models from a volume claim, an image volume or a bucket, with the plain server image."""

from __future__ import annotations

from functools import partial
from typing import Any

from bundler.render import RenderContext, tagged, tf_serving
from bundler.render.kubernetes import canary, sizes
from bundler.render.kubernetes.tree import Edit, rename, set_image, split_image


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of these components, by path."""
    table: dict[str, Edit] = {
        f"models-{kind}/kustomization.yaml": partial(_kustomization, context)
        for kind in ("pvc", "volume", "bucket")
    }
    table |= {
        "models-pvc/claim.yaml": partial(_claim, context),
        "models-pvc/volume.yaml": partial(rename, context),
        "models-volume/volume.yaml": partial(_image_volume, context),
        "models-bucket/networkpolicy.yaml": partial(rename, context),
        "models-bucket/volume.yaml": partial(_bucket_volume, context),
        "models-bucket/init.yaml": partial(_bucket_init, context),
    }
    return {f"components/{path}": edit for path, edit in table.items()}


def rclone_remote(uri: str) -> str:
    """Return `s3://bucket/path` or `gs://bucket/path` as a connection string (rclone.org/docs, "connection strings").

    Credentials come from the pod's environment or its ServiceAccount (`env_auth`). `bucket_policy_only` keeps rclone from
    using access lists, which a GCS bucket with uniform access rejects.
    """
    scheme, _, path = uri.partition("://")
    remote = {"s3": ":s3,env_auth=true,provider=AWS", "gs": ":gcs,env_auth=true,bucket_policy_only=true"}[scheme]
    return f"{remote}:{path.rstrip('/')}"


def copy_arguments(context: RenderContext) -> list[str]:
    """Return the init container's arguments; they copy only the versions that the base or the canary serves."""
    versions = {name: set(served) for name, served in tf_serving.served_versions(context).items()}
    for track in ("stable", "canary"):
        for name, version in canary.versions(context, track).items():
            versions[name].add(version)
    return [
        "copy",
        "--config=/tmp/none",
        "--retries=5",
        *(f"--include=/{name}/{version}/**" for name, numbers in versions.items() for version in sorted(numbers)),
        rclone_remote(bucket(context)),
        tf_serving.MODELS_DIR,
    ]


def bucket(context: RenderContext) -> str:
    """Return the URI of the folder in object storage that holds <model>/<version>/."""
    return context.spec.kubernetes.storage_uri or "s3://models"


def volume_image(context: RenderContext) -> str:
    """Return the name of the image that docker/Dockerfile.models builds, with only the models."""
    return tagged(context.spec.kubernetes.volume_image or f"{context.name}-models", context.models_tag)


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    image = document["images"][0]
    image["name"] = split_image(context.image)[0]
    set_image(image, context.spec.docker.reference)


def _claim(context: RenderContext, document: Any) -> None:
    rename(context, document)
    document["spec"]["resources"]["requests"]["storage"] = sizes.claim_size(context)


def _image_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["image"]["reference"] = volume_image(context)


def _bucket_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["emptyDir"]["sizeLimit"] = sizes.copy_size(context)


def _bucket_init(context: RenderContext, document: Any) -> None:
    document["metadata"]["name"] = context.objects_name
    init = document["spec"]["template"]["spec"]["initContainers"][0]
    init["args"][:] = copy_arguments(context)
    init["envFrom"][0]["secretRef"]["name"] = f"{context.objects_name}-bucket"
    init["resources"]["requests"]["ephemeral-storage"] = sizes.copy_size(context)
