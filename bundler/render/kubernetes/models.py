"""components/models-*: models from a volume claim, an image volume or a bucket, beside the plain server's image."""

from __future__ import annotations

from functools import partial
from typing import Any

from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import canary, sizes
from bundler.render.kubernetes.tree import Edit, rename, set_image, split_image


def edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle."""
    table: dict[str, Edit] = {
        f"models-{kind}/kustomization.yaml": partial(_kustomization, context)
        for kind in ("pvc", "volume", "bucket")
    }
    table |= {
        "models-pvc/claim.yaml": partial(_claim, context),
        "models-pvc/volume.yaml": partial(_renamed, context),
        "models-volume/volume.yaml": partial(_image_volume, context),
        "models-bucket/networkpolicy.yaml": partial(_renamed, context),
        "models-bucket/volume.yaml": partial(_bucket_volume, context),
        "models-bucket/init.yaml": partial(_bucket_init, context),
    }
    return {f"components/{path}": edit for path, edit in table.items()}


def rclone_remote(uri: str) -> str:
    """`s3://bucket/path` or `gs://bucket/path` as rclone's connection string (rclone.org/docs, "connection strings").

    Credentials come from the pod's environment or ServiceAccount (`env_auth`). A bucket of GCS with uniform access refuses
    the access lists that rclone would ask for otherwise (`bucket_policy_only`).
    """
    scheme, _, path = uri.partition("://")
    remote = {"s3": ":s3,env_auth=true,provider=AWS", "gs": ":gcs,env_auth=true,bucket_policy_only=true"}[scheme]
    return f"{remote}:{path.rstrip('/')}"


def copy_arguments(context: RenderContext) -> list[str]:
    """Arguments of the init container: the folders of the versions that the base or the canary serves, and no others."""
    versions = {name: set(served) for name, served in tf_serving.served_versions(context).items()}
    for track in ("stable", "canary"):
        for name, version in canary.versions(context, track).items():
            versions[name].add(version)
    return [
        "copy",
        "--config=/tmp/none",
        "--retries=5",
        *(f"--include=/{name}/{version}/**" for name, found in versions.items() for version in sorted(found)),
        rclone_remote(bucket(context)),
        tf_serving.MODELS_DIR,
    ]


def bucket(context: RenderContext) -> str:
    """Folder of object storage that holds <model>/<version>/."""
    return context.spec.kubernetes.storage_uri or "s3://models"


def volume_image(context: RenderContext) -> str:
    """Image of docker/Dockerfile.models: models, and nothing else."""
    return context.spec.kubernetes.volume_image or f"{context.name}-models:{context.tag}"


def _renamed(context: RenderContext, document: Any) -> None:
    rename(document, context.objects_name)


def _kustomization(context: RenderContext, document: Any) -> None:
    _renamed(context, document)
    image = document["images"][0]
    image["name"] = split_image(context.image)[0]
    set_image(image, context.spec.docker.reference)


def _claim(context: RenderContext, document: Any) -> None:
    _renamed(context, document)
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
