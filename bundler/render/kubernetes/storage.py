"""Where KServe finds a model: the storageUri of its InferenceService, and the folder in the pod in which the versions then are.

KServe (pkg/constants/constants.go) puts a model into /mnt/models. What is there depends on the scheme:

    s3://, gs://       the objects below the address, copied by the storage initializer
                       (python/storage/kserve_storage/kserve_storage.py, `_download_s3`, `_download_gcs`)
    pvc://             the claim's folder, mounted (pkg/webhook/admission/pod/storage_initializer_injector.go)
    hf://              the whole repository; the address has no folders (`_download_hf`, since KServe 0.14)
    https://           the content of the archive (`_download_from_uri`)
    oci://             a link to /models of a sidecar that runs the image (pkg/utils/storage.go, `ConfigureModelcarToContainer`;
                       since 0.12, on by default since 0.15)
    oci+native://      the folder models of the image, as an image volume (`ConfigureOciNativeToContainer`, since 0.20)

The first three take the address of one model's folder, so that its versions are in /mnt/models. The others bring the folders of
all models of the bundle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bundler.spec.storage_uri import BUCKETS, scheme

MODEL_DIR = "/mnt/models"
"""Folder in which KServe puts a model."""


@dataclass(frozen=True)
class Storage:
    """Where a model is.

    Attributes:
        uri: the storageUri of its InferenceService.
        base_path: the folder in the pod that holds the model's version folders.
    """

    uri: str
    base_path: str


def locate(root: str, model: str) -> Storage:
    """Return where KServe finds a model.

    Args:
        root: the setting `kubernetes.storage_uri`, or the address of a claim.
        model: the model's name.
    """
    kind, rest = scheme(root), root.rstrip("/")
    if kind in (*BUCKETS, "pvc"):
        return Storage(f"{rest}/{model}", MODEL_DIR)
    if kind != "hf":
        return Storage(rest, f"{MODEL_DIR}/{model}")
    repository, folder = re.fullmatch(r"(hf://[^/]+/[^/]+)(.*)", rest).groups()  # type: ignore[union-attr]  # the spec checks it
    return Storage(repository, f"{MODEL_DIR}{folder}/{model}")
