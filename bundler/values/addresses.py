"""Addresses outside this machine: `oci://HOST/REPOSITORY:TAG@DIGEST` for a registry, `s3://…` and others for a store of files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.errors import UsageError

OCI = "oci://"

STORES = ("s3", "gs", "az", "abfs", "hf", "http", "https", "memory", "file")
"""Schemes of stores, as fsspec names them."""

_HOST = r"(?P<registry>(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?)"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"{_HOST}/(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class OciAddress:
    """A place in a registry (github.com/opencontainers/distribution-spec, spec.md, "Pulling manifests").

    Attributes:
        registry: host, with its port if it has one.
        repository: path of the repository in the registry.
        tag: the tag; None if there is only a digest, or neither.
        digest: `sha256:` and 64 hexadecimal digits; None if the address is not pinned.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> OciAddress:
        """Return the address that `oci://HOST/REPOSITORY[:TAG][@DIGEST]` stands for.

        Raises:
            UsageError: the text has another form.
        """
        match = _REFERENCE.fullmatch(text.removeprefix(OCI))
        if not text.startswith(OCI) or match is None:
            raise UsageError(
                f"{text!r} is not an address in a registry.",
                fix="write oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST, with the repository in lower case, "
                "e.g. oci://registry.example.com/models/digits:1",
                code="TFB9001",
            )
        return cls(match["registry"], match["repository"], match["tag"], match["digest"])

    @property
    def image(self) -> str:
        """The address as Kubernetes, Docker and skopeo write an image: without a scheme."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def reference(self) -> str:
        """What names the manifest in its repository: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def pinned(self, digest: str) -> OciAddress:
        """Return this address with a digest."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        return f"{OCI}{self.image}"


@dataclass(frozen=True)
class StoreAddress:
    """A folder in a store of files, such as a bucket.

    Attributes:
        scheme: one of `STORES`.
        path: the rest of the URL, without a slash at its end: bucket and folder, or host and folder.
    """

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> StoreAddress:
        """Return the address that `SCHEME://PATH` stands for.

        Raises:
            UsageError: the scheme is none of `STORES`, or there is no path.
        """
        match = _SCHEME.fullmatch(text)
        scheme = {"gcs": "gs"}.get(match["scheme"], match["scheme"]) if match else ""
        path = match["rest"].rstrip("/") if match else ""
        if scheme not in STORES or not path.strip("/") or ".." in path.split("/"):
            known = ", ".join(f"{name}://" for name in STORES if name not in ("memory", "file"))
            raise UsageError(
                f"{text!r} is not the address of a folder in a store.",
                fix=f"begin it with one of {known}, then bucket and folder, e.g. s3://bucket/dist",
                code="TFB9101",
            )
        return cls(scheme, path)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


def is_remote(text: str) -> bool:
    """Return whether a text is an address, and not a path on this machine."""
    return _SCHEME.fullmatch(text) is not None


def lost_address(path: str | Path) -> str | None:
    """Return the address that became a path, as in Path("s3://bucket/dist"); None for any other path."""
    scheme, separator, rest = str(path).partition(":/")
    if not separator or scheme not in (*STORES, "gcs", "oci") or Path(f"{scheme}:").exists():
        return None
    return f"{scheme}://{rest.lstrip('/')}"


def parse_address(text: str) -> OciAddress | StoreAddress:
    """Return the address in a registry or a store.

    Raises:
        UsageError: the text has neither form.
    """
    return OciAddress.parse(text) if text.startswith(OCI) else StoreAddress.parse(text)
