"""Where KServe finds a model, by the scheme of its address, checked against what KServe puts into /mnt/models."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

import pytest

from bundler.render.kubernetes.storage import MODEL_DIR, locate

FILE = "models/digits/3/saved_model.pb"
"""A file in a bundle."""


def mounted(uri: str, prefix: str) -> str | None:
    """Return the path of FILE below /mnt/models if `prefix` is where the bundle's models/ folder is, in the address's terms.

    As in KServe's sources (storage.py names them): objects are copied without the address's own path, a claim's folder is
    mounted, a repository and an archive arrive whole, and of an image its folder models does.
    """
    inside = PurePosixPath(FILE).relative_to("models")
    if uri.startswith(("s3://", "gs://", "pvc://")):
        path = PurePosixPath(f"{prefix}/{inside}".replace("://", ":/"))
        root = PurePosixPath(uri.replace("://", ":/"))
        return str(MODEL_DIR / path.relative_to(root))
    if uri.startswith("oci"):
        return str(MODEL_DIR / PurePosixPath(FILE).relative_to("models"))
    return str(PurePosixPath(MODEL_DIR) / prefix / inside)


@pytest.mark.parametrize(
    ("root", "uri", "prefix"),
    [
        ("s3://bucket/dist/models/", "s3://bucket/dist/models/digits", "s3://bucket/dist/models"),
        ("gs://bucket", "gs://bucket/digits", "gs://bucket"),
        ("pvc://claim/a", "pvc://claim/a/digits", "pvc://claim/a"),
        ("hf://owner/repo:main", "hf://owner/repo:main", ""),
        ("hf://owner/repo/dist/models", "hf://owner/repo", "dist/models"),
        ("https://host/digits.tar.gz", "https://host/digits.tar.gz", ""),
        ("oci://ghcr.io/a:1", "oci://ghcr.io/a:1", ""),
        ("oci+native://ghcr.io/a:1@sha256:0", "oci+native://ghcr.io/a:1@sha256:0", ""),
    ],
)
def test_the_base_path_holds_the_versions_that_kserve_brings(root: str, uri: str, prefix: str) -> None:
    found = locate(root, "digits")
    assert found.uri == uri
    assert mounted(found.uri, prefix) == f"{found.base_path}/3/saved_model.pb"


def test_an_archive_of_the_models_folder_has_the_layout(tmp_path: Path) -> None:
    """As the documentation makes it: tar -C BUNDLE/models -czf digits.tar.gz ."""
    source = tmp_path / FILE
    source.parent.mkdir(parents=True)
    source.write_text("graph")
    with tarfile.open(tmp_path / "digits.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "models", arcname=".")
    pod = tmp_path / "pod" / MODEL_DIR.lstrip("/")
    with tarfile.open(tmp_path / "digits.tar.gz", "r") as tar:  # as `_unpack_archive_file` does
        tar.extractall(pod, filter="data")
    base = locate("https://host/digits.tar.gz", "digits").base_path
    assert (tmp_path / "pod" / base.lstrip("/") / "3" / "saved_model.pb").read_text() == "graph"
