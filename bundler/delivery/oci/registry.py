"""One repository of a registry: its manifests and blobs, read and written as the distribution specification says.

Blobs are streamed in both directions and every digest is compared. A download goes on where the connection broke; an upload asks
the registry how much it has, and begins again if the registry cannot tell (docker-registry 2.8 ends such an upload).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bundler.delivery.oci.descriptors import ACCEPTED, LARGEST_MANIFEST, MANIFEST, Descriptor, digest_of, parse
from bundler.errors import DeliveryError
from bundler.process.extras import require
from bundler.values.addresses import OciAddress

if TYPE_CHECKING:
    from bundler.delivery.oci.transport import Patience, Transport

CHUNK = 1 << 18
_SUBJECT_HEADER = "OCI-Subject"
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")

Chunks = Callable[[int], Iterator[bytes]]
"""Yields a blob's content from an offset on; called again if an upload has to go on or begin again."""
Report = Callable[[int], None]
"""Is told how many bytes of a blob have been transferred."""

_PAGE = 100
"""Tags that are asked for at once."""


@dataclass(frozen=True)
class Document:
    """A manifest or index, as the registry has it.

    Attributes:
        descriptor: its type, digest and size.
        data: its bytes.
        content: its JSON.
        where: names it in messages.
    """

    descriptor: Descriptor
    data: bytes
    content: dict[str, Any]
    where: str


class Registry:
    """A repository of a registry.

    Attributes:
        address: the repository, without a tag.
    """

    def __init__(self, transport: Transport, address: OciAddress) -> None:
        """Keep what makes the requests, and the repository's address."""
        self.address = OciAddress(address.registry, address.repository)
        self._transport = transport

    @classmethod
    def at(cls, address: OciAddress, *, insecure: bool = False, patience: Patience | None = None) -> Registry:
        """Return the repository of an address; nothing is sent yet.

        Args:
            address: where; tag and digest are left out.
            insecure: speak plain HTTP, which is allowed with a registry on this machine only.
            patience: how often a request is repeated.

        Raises:
            MissingExtraError: oras is not installed.
            UsageError: `insecure` and another machine, or Docker's configuration is damaged.
        """
        require("oci", "A registry")
        from bundler.delivery.oci.transport import Transport

        return cls(Transport(address.registry, insecure=insecure, patience=patience), address)

    def beside(self, repository: str) -> Registry:
        """Return another repository of the same registry."""
        return Registry(self._transport, OciAddress(self.address.registry, repository))

    def document(self, reference: str) -> Document:
        """Return the manifest or index that a tag or digest names.

        Raises:
            DeliveryError: the registry does not have it, or sends another content than its digest names.
        """
        response = self._request("GET", f"manifests/{reference}", (200,), headers={"Accept": ", ".join(ACCEPTED)}, stream=True)
        where = f"{self.address}{'@' if ':' in reference else ':'}{reference}"
        with response:
            data = self._read_small(response, LARGEST_MANIFEST, where)
        expected = reference if ":" in reference else response.headers.get("Docker-Content-Digest", "")
        if expected.startswith("sha256:") and digest_of(data) != expected:
            raise _lie(where, expected)
        content = parse(data, where=where)
        kind = content.get("mediaType") or response.headers.get("Content-Type", "").split(";")[0] or MANIFEST
        artifact_type = content.get("artifactType") or ""
        return Document(Descriptor.of(data, str(kind), artifact_type=str(artifact_type)), data, content, where)

    def has_manifest(self, reference: str) -> bool:
        """Return whether the repository has a tag, or a manifest of a digest."""
        passes, headers = (200, 404), {"Accept": ", ".join(ACCEPTED)}
        return bool(self._request("HEAD", f"manifests/{reference}", passes, headers=headers).status_code == 200)

    def put_manifest(self, data: bytes, media_type: str, *, tag: str | None = None) -> bool:
        """Write a manifest or index, under a tag or under its digest alone.

        Args:
            data: its bytes.
            media_type: its type.
            tag: the tag, which moves if it exists.

        Returns:
            Whether the registry lists a manifest with a `subject` among the subject's referrers by itself.

        Raises:
            DeliveryError: the registry refuses it, or lacks a blob that it names.
        """
        digest = digest_of(data)
        response = self._request(
            "PUT", f"manifests/{tag or digest}", (200, 201, 202), data=data, headers={"Content-Type": media_type}
        )
        if response.headers.get("Docker-Content-Digest", digest) != digest:
            raise _lie(f"{self.address}:{tag or digest}", digest)
        return _SUBJECT_HEADER in response.headers

    def referrers_index(self, digest: str) -> bytes | None:
        """Return the answer of the referrers API, or None if the registry does not have it (distribution-spec 1.1)."""
        response = self._request("GET", f"referrers/{digest}", (200, 400, 404, 405), stream=True)
        with response:
            if response.status_code != 200:
                return None
            return self._read_small(response, LARGEST_MANIFEST, f"referrers of {self.address}@{digest}")

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has a blob."""
        return bool(self._request("HEAD", f"blobs/{digest}", (200, 404)).status_code == 200)

    def mount(self, digest: str, repository: str) -> bool:
        """Take a blob over from another repository of the registry, without a transfer.

        Returns:
            Whether that worked; otherwise it has to be uploaded.
        """
        query = urlencode({"mount": digest, "from": repository})
        response = self._request("POST", f"blobs/uploads/?{query}", (201, 202), headers={"Content-Length": "0"})
        if response.status_code == 201:
            return True
        with suppress(DeliveryError):  # an upload that nobody goes on with expires
            self._transport.request("DELETE", self._transport.location(response), passes=(204, 404, 405))
        return False

    def put_blob(self, data: bytes) -> bool:
        """Upload a small blob, unless the repository has it.

        Returns:
            Whether it was uploaded.
        """
        descriptor = Descriptor.of(data, "application/octet-stream")
        if self.has_blob(descriptor.digest):
            return False
        self.upload(descriptor, lambda offset: iter([data[offset:]]))
        return True

    def upload(self, descriptor: Descriptor, chunks: Chunks, report: Report = lambda count: None) -> None:
        """Stream a blob into the repository; a broken connection is made again.

        Args:
            descriptor: its digest and size.
            chunks: its content.
            report: is told how much has been sent.

        Raises:
            DeliveryError: the registry cannot be reached, refuses, or keeps failing, or the content has another digest.
        """
        patience, failures, offset = self._transport.patience, 0, 0
        url = ""
        while True:
            try:
                url = url or self._begin()
                if offset < descriptor.size:
                    url = self._send(url, _Body(chunks, offset, descriptor.size, report), offset)
                self._finish(url, descriptor)
                return
            except _InterruptedError as exc:
                failures += 1
                if failures >= patience.attempts:
                    raise exc.error from exc
                patience.wait(failures, exc.retry_after)
                url, offset = self._resume(url)
                report(offset)

    def stream(self, size: int, chunks: Iterator[bytes], describe: Callable[[], Descriptor], report: Report) -> bool:
        """Upload a blob whose digest is known only when its last byte has been sent.

        Args:
            size: its size.
            chunks: its content.
            describe: returns its descriptor once `chunks` has ended.
            report: is told how much has been sent.

        Returns:
            Whether that worked; if the connection broke, `upload` does it again.

        Raises:
            DeliveryError: the registry cannot be reached, or refuses.
        """
        try:
            url = self._send(self._begin(), _Body(lambda offset: chunks, 0, size, report), 0)
            self._finish(url, describe())
        except _InterruptedError as exc:
            self._transport.patience.wait(1, exc.retry_after)
            return False
        return True

    def is_empty(self) -> bool:
        """Return whether the repository has no tag, or does not exist; False if the registry does not say."""
        response = self._request("GET", "tags/list?n=1", (200, 401, 403, 404, 405))
        try:
            return response.status_code == 404 or not response.json()["tags"]
        except (ValueError, KeyError, TypeError):
            return False

    def tags(self) -> list[str]:
        """Return the tags of the repository, page by page as the registry sends them; none if it does not exist.

        Raises:
            DeliveryError: the registry cannot be reached, or refuses.
        """
        found: list[str] = []
        while True:
            last = f"&last={found[-1]}" if found else ""
            response = self._request("GET", f"tags/list?n={_PAGE}{last}", (200, 404))
            page = parse(response.content, where=f"{self.address}, tags").get("tags") if response.status_code == 200 else None
            new = [tag for tag in page or () if isinstance(tag, str) and tag not in found]
            found += new
            if len(new) < _PAGE:
                return found

    def _begin(self) -> str:
        headers = {"Content-Length": "0"}
        return self._transport.location(self._request("POST", "blobs/uploads/", (202,), headers=headers))

    def _send(self, url: str, body: _Body, offset: int) -> str:
        """Send the rest of a blob; return the URL to go on with."""
        from bundler.delivery.oci import refusals
        from bundler.delivery.oci.transport import TRANSIENT, is_transient

        headers = {"Content-Type": "application/octet-stream"}
        if offset:
            headers["Content-Range"] = f"{offset}-{offset + len(body) - 1}"
        try:
            response = self._transport.do_request(url, "PATCH", data=body, headers=headers)
        except OSError as exc:  # the base of what requests raises
            if body.error is not None:
                raise body.error from exc
            error = refusals.unreachable(exc, url)
            if is_transient(exc):
                raise _InterruptedError(error) from exc
            raise error from exc
        if response.status_code in (202, 201, 204):
            return self._transport.location(response)
        error = refusals.refused(response, self._transport.auth)
        if response.status_code in (*TRANSIENT, 404, 416, 499):
            raise _InterruptedError(error, response.headers.get("Retry-After", ""))
        raise error

    def _finish(self, url: str, descriptor: Descriptor) -> None:
        url = self._transport.with_digest(url, descriptor.digest)
        response = self._transport.request("PUT", url, passes=(200, 201, 202, 204, 400, 404), headers={"Content-Length": "0"})
        if response.status_code < 300 or self.has_blob(descriptor.digest):  # an answer that was lost, repeated
            return
        if response.status_code == 404:
            from bundler.delivery.oci import refusals

            raise _InterruptedError(refusals.refused(response, self._transport.auth))
        raise DeliveryError(
            f"The registry received other bytes than the {descriptor.size} with the digest {descriptor.digest}.",
            where=str(self.address),
            fix="repeat the command; nothing may write into the bundle meanwhile",
            code="TFB9010",
        )

    def _resume(self, url: str) -> tuple[str, int]:
        """Return the URL of an upload and how many bytes the registry has; no URL and 0 if it has to begin again."""
        try:
            response = self._transport.request("GET", url, passes=(204,)) if url else None
        except DeliveryError:
            return "", 0
        found = _RANGE.fullmatch(response.headers.get("Range", "")) if response is not None else None
        if found is None or response is None:
            return "", 0
        return self._transport.location(response), int(found[1]) + 1 if int(found[1]) else 0

    def read(self, descriptor: Descriptor, report: Report = lambda count: None, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the content of a blob; a broken connection is made again, and the download goes on where it was.

        Args:
            descriptor: its digest and size.
            report: is told how much has been received.
            offset: where to begin. The digest is compared only if that is 0.

        Raises:
            DeliveryError: the registry does not have it, keeps failing, or sends another content.
        """
        from bundler.delivery.oci import refusals
        from bundler.delivery.oci.transport import is_transient

        digest, position, failures = hashlib.sha256(), offset, 0
        while position < descriptor.size:
            before, error = position, None
            try:
                for chunk in self._from(descriptor, position):
                    position += len(chunk)
                    if position > descriptor.size:
                        raise _lie(f"{self.address}@{descriptor.digest}", descriptor.digest)
                    digest.update(chunk)
                    yield chunk
                    report(position)
            except OSError as exc:
                if not is_transient(exc):
                    raise refusals.unreachable(exc, self._url(f"blobs/{descriptor.digest}")) from exc
                error = exc
            if position < descriptor.size:
                failures = 1 if position > before else failures + 1
                if failures >= self._transport.patience.attempts:
                    short = error or ConnectionError(f"it ended after {position} of {descriptor.size} bytes")
                    raise refusals.unreachable(short, self._url(f"blobs/{descriptor.digest}")) from error
                self._transport.patience.wait(failures)
        if offset == 0 and f"sha256:{digest.hexdigest()}" != descriptor.digest:
            raise _lie(f"{self.address}@{descriptor.digest}", descriptor.digest)

    def _from(self, descriptor: Descriptor, position: int) -> Iterator[bytes]:
        """Yield the rest of a blob; a registry without ranges sends what is known once more, which is skipped."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={position}-"} if position else {})}
        response = self._request("GET", f"blobs/{descriptor.digest}", (200, 206), headers=headers, stream=True)
        with response:
            skip = position if response.status_code == 200 else 0
            for chunk in response.iter_content(CHUNK):
                rest = chunk[skip:]
                skip -= len(chunk) - len(rest)
                if rest:
                    yield rest

    def read_bytes(self, descriptor: Descriptor, limit: int = LARGEST_MANIFEST) -> bytes:
        """Return the content of a small blob.

        Raises:
            DeliveryError: it is larger than `limit`, or as `read` does.
        """
        if descriptor.size > limit:
            raise DeliveryError(
                f"The manifest announces {descriptor.size} bytes where at most {limit} are read.",
                where=f"{self.address}@{descriptor.digest}",
                fix="push the bundle again, or check the address",
                code="TFB9009",
            )
        return b"".join(self.read(descriptor))

    def _read_small(self, response: Any, limit: int, where: str) -> bytes:
        data = bytearray()
        with self._transport.explained(response.url):
            for chunk in response.iter_content(CHUNK):
                data += chunk
                if len(data) > limit:
                    break
        if len(data) > limit:
            raise DeliveryError(
                f"The registry sent a manifest of more than {limit >> 20} MiB, the most that is read.",
                where=where,
                fix="check the address",
                code="TFB9009",
            )
        return bytes(data)

    def _url(self, path: str) -> str:
        return self._transport.url(f"{self.address.repository}/{path}")

    def _request(self, method: str, path: str, passes: tuple[int, ...], **settings: Any) -> Any:
        return self._transport.request(method, self._url(path), passes=passes, **settings)


class _Body:
    """The rest of a blob as requests sends it: it has a length, and yields its content anew each time."""

    def __init__(self, chunks: Chunks, offset: int, size: int, report: Report) -> None:
        self._chunks, self._offset, self._size, self._report = chunks, offset, size, report
        self.error: Exception | None = None

    def __len__(self) -> int:
        return self._size - self._offset

    def __iter__(self) -> Iterator[bytes]:
        position = self._offset
        try:
            for chunk in self._chunks(self._offset):
                yield chunk
                position += len(chunk)
                self._report(position)
        except Exception as exc:
            self.error = exc  # urllib3 would report a connection that broke
            raise


class _InterruptedError(Exception):
    """An upload that broke and can go on or begin again; `error` is for the user if it keeps breaking."""

    def __init__(self, error: DeliveryError, retry_after: str = "") -> None:
        super().__init__(error.what)
        self.error = error
        self.retry_after = retry_after


def _lie(where: str, digest: str) -> DeliveryError:
    return DeliveryError(
        f"The registry sent other content than {digest} names; it was discarded.",
        where=where,
        fix="repeat the command; if that does not help, the registry or a proxy before it is broken, or somebody exchanged the "
        "content: push it again from the bundle, and ask the administrator",
        code="TFB9010",
    )
