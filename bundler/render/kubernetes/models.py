"""components/models-*: models from a volume claim, an image volume, a bucket or a registry, with the plain server image."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bundler.render import RenderContext, short_hash, tagged, tf_serving
from bundler.render.kubernetes import canary, pods, sizes
from bundler.render.kubernetes.tree import INSTANCE, Edit, rename, set_image, split_image
from bundler.spec.storage_uri import BUCKETS, scheme

DOCKER_CONFIG_DIR = "/docker"
"""Folder of the init container of models-oci with the registry's credentials, in Docker's form."""


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of these components, by path."""
    table: dict[str, Edit] = {
        f"models-{kind}/kustomization.yaml": partial(_kustomization, context)
        for kind in ("pvc", "volume", "bucket", "oci")
    }
    if context.spec.kubernetes.claim.existing is None:
        table["models-pvc/claim.yaml"] = partial(own_claim, context)
    table |= {
        "fill-claim/job.yaml": partial(_fill, context),
        "fill-claim/kustomization.yaml": partial(_fill_kustomization, context),
        "models-pvc/volume.yaml": partial(_claim_volume, context),
        "models-volume/volume.yaml": partial(_image_volume, context),
        "models-bucket/networkpolicy.yaml": partial(_bucket_policy, context),
        "models-bucket/volume.yaml": partial(_bucket_volume, context),
        "models-bucket/init.yaml": partial(_bucket_init, context),
        "models-oci/networkpolicy.yaml": partial(_registry_policy, context),
        "models-oci/volume.yaml": partial(_pull_volume, context),
        "models-oci/init.yaml": partial(_pull_init, context),
    }
    return {f"components/{path}": edit for path, edit in table.items()}


def rclone_remote(uri: str, endpoint: str | None = None) -> str:
    """Return `s3://bucket/path` or `gs://bucket/path` as a connection string (rclone.org/docs, "connection strings").

    Credentials come from the pod's environment or its ServiceAccount (`env_auth`). `bucket_policy_only` keeps rclone from
    using access lists, which a GCS bucket with uniform access rejects.

    Args:
        uri: the folder.
        endpoint: address of an S3 store that is not AWS.
    """
    scheme, _, path = uri.partition("://")
    provider = f'provider=Other,endpoint="{endpoint}"' if endpoint else "provider=AWS"
    remote = {"s3": f":s3,env_auth=true,{provider}", "gs": ":gcs,env_auth=true,bucket_policy_only=true"}[scheme]
    return f"{remote}:{path.rstrip('/')}"


def store_port(context: RenderContext) -> int:
    """Return the port of the object store: that of `storage_endpoint`, or that of HTTPS."""
    endpoint = urlsplit(context.spec.kubernetes.storage_endpoint or "https://store")
    return endpoint.port or {"http": 80, "https": 443}[endpoint.scheme]


def copy_arguments(context: RenderContext) -> list[str]:
    """Return the init container's arguments; they copy only the versions that the base or the canary serves."""
    return [
        "copy",
        "--config=/tmp/none",
        "--retries=5",
        *(f"--include=/{version}/**" for version in fetched_versions(context)),
        rclone_remote(bucket(context), context.spec.kubernetes.storage_endpoint),
        tf_serving.MODELS_DIR,
    ]


def fetched_versions(context: RenderContext) -> list[str]:
    """Return `<model>/<version>` of each version that the base or the canary serves."""
    versions = {name: set(served) for name, served in tf_serving.served_versions(context).items()}
    for track in canary.TRACKS:
        for name, version in canary.versions(context, track).items():
            versions[name].add(version)
    return [f"{name}/{version}" for name, numbers in versions.items() for version in sorted(numbers)]


def bucket(context: RenderContext) -> str:
    """Return the URI of the folder in object storage that holds <model>/<version>/; an example if it is not in such a store."""
    uri = context.spec.kubernetes.storage_uri
    return uri if uri and scheme(uri) in BUCKETS else "s3://models"


def volume_image(context: RenderContext) -> str:
    """Return the name of the image with only the models: of `tfbundle push`, or the one that docker/Dockerfile.models builds."""
    return tagged(context.spec.kubernetes.models_reference or f"{context.name}-models", context.models_tag)


def pull_arguments(context: RenderContext) -> list[str]:
    """Return the arguments of the init container's script: the image to pull, and the versions that it has to contain.

    ORAS unpacks each layer that has a title, has the annotation io.deis.oras.content.unpack, and whose tar entries are all below
    that title (oras-go, content/file/utils.go, `extractTarDirectory`): `models/<model>/<version>`. It cannot choose layers (oras,
    cmd/oras/root/pull.go), and it skips one without a title silently, as in an image that Docker has built.
    """
    return [volume_image(context), *fetched_versions(context)]


def registry_port(context: RenderContext) -> int:
    """Return the port of the registry with the models: the one in the image's name, or that of HTTPS."""
    port = re.match(r"[^/]*:([0-9]{1,5})/", volume_image(context))
    return int(port[1]) if port else 443


def pull_secret(context: RenderContext) -> str:
    """Return the name of the Secret with the registry's credentials; empty if there is none."""
    kubernetes = context.spec.kubernetes
    return kubernetes.pull_secret or next(iter(kubernetes.pod.image_pull_secrets), "")


def claim(context: RenderContext) -> str:
    """Return the name of the volume claim with the models."""
    return context.spec.kubernetes.claim.existing or f"{context.objects_name}-models"


def claim_size(context: RenderContext) -> str:
    """Return the size of the bundle's own claim."""
    return context.spec.kubernetes.claim.size or sizes.claim_size(context)


def fill_name(name: str, image: str) -> str:
    """Return the name of the Job that fills the claim of the objects `name`: a Job of its own for each image.

    It leaves room for a suffix such as -dev within the 63 characters of the label that a Job gives its pods.
    """
    return f"{name[:44].rstrip('-')}-fill-{short_hash(name + image)}"


def own_claim(context: RenderContext, document: Any) -> None:
    """Set name, class, mode and size of a claim."""
    settings = context.spec.kubernetes.claim
    document["metadata"]["name"] = claim(context)
    if not settings.keep:
        del document["metadata"]["annotations"]
    spec = document["spec"]
    spec["accessModes"][0] = settings.access_mode
    if settings.storage_class is not None:
        spec.insert(0, "storageClassName", settings.storage_class)
    spec["resources"]["requests"]["storage"] = claim_size(context)


def set_fill(context: RenderContext, document: Any, *, name: str, config: str, claim: str) -> None:
    """Set names, labels and pod settings of a Job that fills a claim.

    Args:
        context: the bundle.
        document: the Job.
        name: name of the objects that it belongs to.
        config: name of the ConfigMap with the script.
        claim: name of the claim.
    """
    document["metadata"]["name"] = fill_name(name, context.image)
    template = document["spec"]["template"]
    for labels in (document["metadata"]["labels"], template["metadata"]["labels"]):
        labels[INSTANCE] = name
    pods.set_metadata(context, template)
    spec = template["spec"]
    spec.update(pods.pod_fields(context))
    pods.set_mapping(spec["securityContext"], pods.security_with_files(context))
    pods.set_mapping(spec["containers"][0]["securityContext"], pods.container_security(context))
    spec["volumes"][0]["configMap"]["name"] = config
    spec["volumes"][1]["persistentVolumeClaim"]["claimName"] = claim


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    image = document["images"][0]
    image["name"] = split_image(context.image)[0]
    set_image(image, context.spec.docker.reference)
    if "claim.yaml" in document.get("resources", ()) and context.spec.kubernetes.claim.existing:
        del document["resources"]


def _claim_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["persistentVolumeClaim"]["claimName"] = claim(context)


def _fill(context: RenderContext, document: Any) -> None:
    name = context.objects_name
    set_fill(context, document, name=name, config=f"{name}-fill-script", claim=claim(context))


def _fill_kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_image(document["images"][0], context.image)


def _bucket_policy(context: RenderContext, document: Any) -> None:
    rename(context, document)
    document["spec"]["egress"][0]["ports"][-1]["port"] = store_port(context)
    if context.spec.kubernetes.storage_endpoint is not None:
        del document["spec"]["egress"][1]  # the identity that a cloud provides is of no use there


def _image_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["image"]["reference"] = volume_image(context)


def _registry_policy(context: RenderContext, document: Any) -> None:
    rename(context, document)
    document["spec"]["egress"][0]["ports"][-1]["port"] = registry_port(context)


def _pull_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["emptyDir"]["sizeLimit"] = sizes.pull_size(context)


def _pull_init(context: RenderContext, document: Any) -> None:
    spec = _with_init(context, document, pull_arguments(context), sizes.pull_size(context))
    init = spec["initContainers"][0]
    init["image"] = context.spec.kubernetes.pull_image
    if secret := pull_secret(context):
        init["volumeMounts"].append({"name": "registry", "mountPath": DOCKER_CONFIG_DIR, "readOnly": True})
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        spec["volumes"] = [{"name": "registry", "secret": {"secretName": secret, "items": items}}]


def _bucket_volume(context: RenderContext, document: Any) -> None:
    document[1]["value"]["emptyDir"]["sizeLimit"] = sizes.copy_size(context)


def _bucket_init(context: RenderContext, document: Any) -> None:
    init = _with_init(context, document, copy_arguments(context), sizes.copy_size(context))["initContainers"][0]
    init["image"] = context.spec.kubernetes.copy_image
    init["envFrom"][0]["secretRef"]["name"] = f"{context.objects_name}-bucket"


def _with_init(context: RenderContext, document: Any, arguments: list[str], size: str) -> Any:
    """Set name, arguments and size of the init container that fetches models; return the pod's spec."""
    document["metadata"]["name"] = context.objects_name
    spec = document["spec"]["template"]["spec"]
    init = spec["initContainers"][0]
    init["args"][:] = arguments
    pods.set_mapping(init["securityContext"], pods.container_security(context))
    init["resources"]["requests"]["ephemeral-storage"] = size
    return spec
