"""Where KServe reads the models from: `kubernetes.storage_uri` in bundle.yaml.

KServe's schemes, and what it does with each, are in kserve, python/storage/kserve_storage/kserve_storage.py (`Storage.download`)
and pkg/utils/storage.go (claims and images). Only the schemes with which a folder of TensorFlow Serving's form, NAME/VERSION/,
arrives in the pod are allowed; the others are refused with the reason.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from bundler.spec.image_names import check_image, has_registry

IMAGES = ("oci", "oci+native")
"""Schemes whose models are in an image, in its folder /models."""

BUCKETS = ("s3", "gs")
"""Schemes of object stores, which KServe and rclone can copy from."""

_PATH = r"(?:/[A-Za-z0-9._~@=+%-]+)*/?"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_FORMS = {
    "s3": rf"[a-z0-9][a-z0-9._-]*{_PATH}",
    "gs": rf"[a-z0-9][a-z0-9._-]*{_PATH}",
    "pvc": rf"[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?{_PATH}",
    "hf": rf"{_WORD}/{_WORD}(?::{_WORD})?{_PATH}",
    "https": r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~@=+%-]+)+",
}
EXAMPLES = {
    "s3": "s3://bucket/models",
    "gs": "gs://bucket/models",
    "pvc": "pvc://claim/models",
    "hf": "hf://owner/repository:revision",
    "https": "https://example.com/digits.tar.gz",
    "oci": "oci://registry.example.com/digits-models:1",
    "oci+native": "oci+native://registry.example.com/digits-models:1",
}
"""An address of each scheme."""

_ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|zip)$")
_AZURE = re.compile(r"^https://[^/]+\.(blob|file)\.(core\.windows\.net|storage\.azure\.net)/")
_REFUSED = {
    "http": "anyone on the way could exchange the models; serve the archive with https://",
    "file": "KServe's pods do not see this machine's files; copy them to a claim, and name it with pvc://",
    "gcs": "KServe calls this store gs://",
    "az": "KServe reads Azure's storage by its https:// address alone, and copies it with an SDK that has not been tried with a "
    "bundle; use a claim (pvc://) or a registry (oci+native://)",
    "hdfs": "it has not been tried with a bundle; copy the models to a claim (pvc://) or a bucket (s3://, gs://)",
    "oci+fetch": "no KServe up to 0.20 can fetch an image; use oci+native://",
}
"""Schemes of KServe, or ones that look like its, with the reason why they are refused."""


def scheme(uri: str) -> str:
    """Return the scheme of an address."""
    return uri.partition("://")[0]


def check_storage_uri(uri: str) -> str:
    """Return an address from which KServe can serve a bundle's models.

    Raises:
        ValueError: the scheme is unknown or cannot work, or the rest does not have the scheme's form. The message has the reason.
    """
    name, separator, rest = uri.partition("://")
    if not separator or (name not in EXAMPLES and name not in _REFUSED):
        raise ValueError(f"{uri!r} is not an address that KServe knows; it begins with {', '.join(f'{n}://' for n in EXAMPLES)}")
    reason = _REFUSED.get(name) or _problem(uri, name, rest)
    if reason is not None:
        raise ValueError(f"{uri!r} cannot be served: {reason}")
    return uri


def _problem(uri: str, name: str, rest: str) -> str | None:
    """Return why an address of a known scheme is refused, or None."""
    form = f"write it like {EXAMPLES[name]}"
    if name in IMAGES:
        try:
            check_image(rest)
        except ValueError:
            return f"it does not name an image; {form}"
        return None if has_registry(rest) else f"it lacks the registry's host; {form}"
    if not re.fullmatch(_FORMS[name], rest) or any(part in (".", "..") for part in rest.split("/")):
        return f"it does not have the form of {name}://; {form}"
    if name != "https":
        return None
    if _AZURE.match(uri):
        return _REFUSED["az"]
    if rest.endswith(".git"):
        return f"a clone of a Git repository has no place for large files; {form}"
    if not _ARCHIVE.search(rest):
        return f"KServe unpacks .tar, .tar.gz, .tgz and .zip, and copies any other file as it is, which is not a model; {form}"
    return None


StorageUri = Annotated[str, Field(max_length=1024), AfterValidator(check_storage_uri)]
"""An address from which KServe can serve a bundle's models."""
