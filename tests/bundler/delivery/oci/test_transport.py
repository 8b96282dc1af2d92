from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bundler.delivery.oci.descriptors import Descriptor
from bundler.delivery.oci.registry import Registry
from bundler.delivery.oci.transport import Patience, Transport
from bundler.errors import DeliveryError, UsageError
from bundler.values.addresses import OciAddress
from tests.faults.registry_proxy import AnyMethod


class _TokenRegistry(AnyMethod):
    """A registry with a service for tokens, which are good for one scope each; it has one blob, of which it sends no ranges."""

    blob = b"weights"
    seen: list[tuple[str, str, str]]
    broken = 0

    def serve(self) -> None:
        url = urlsplit(self.path)
        self.seen.append((self.command, url.path, self.headers.get("Authorization", "")))
        if url.path == "/token":
            scope = parse_qs(url.query)["scope"][0]
            self._answer(200, json.dumps({"token": scope.rpartition(":")[2].replace(",", "+")}).encode())
            return
        right = "pull,push" if self.command in ("POST", "PUT", "PATCH") else "pull"
        if right.replace(",", "+") not in self.headers.get("Authorization", ""):
            realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="repository:a/b:{right}"'
            self._answer(401, b"", {"Www-Authenticate": realm})
        elif self.command == "GET" and self.broken:
            type(self).broken -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.blob)))
            self.end_headers()
            self.wfile.write(self.blob[:3])
            self.close_connection = True
        else:
            self._answer(202 if self.command == "POST" else 200, self.blob, {"Location": "http://elsewhere.example/u"})


    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def served() -> Iterator[tuple[type[_TokenRegistry], Registry]]:
    handler = type("Handler", (_TokenRegistry,), {"seen": []})
    with running(handler) as host:
        yield handler, Registry.at(OciAddress(host, "a/b"), insecure=True, patience=Patience(3, 0.001))


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(20)
    server.server_close()


def test_token_of_a_narrow_scope_is_exchanged_for_a_wider_one(served: tuple[type[_TokenRegistry], Registry]) -> None:
    handler, repository = served
    assert repository.has_blob(f"sha256:{'0' * 64}")
    assert not repository.mount(f"sha256:{'0' * 64}", "c/d")
    tokens = [authorization for command, _, authorization in handler.seen if command in ("HEAD", "POST")]
    assert tokens == ["", "Bearer pull", "Bearer pull", "Bearer pull+push"]
    assert all(not authorization for _, path, authorization in handler.seen if path == "/token")  # no password was known


def test_download_from_a_registry_without_ranges_skips_what_is_known(served: tuple[type[_TokenRegistry], Registry]) -> None:
    handler, repository = served
    handler.broken = 2
    assert b"".join(repository.read(Descriptor.of(handler.blob, "a/b"))) == handler.blob
    handler.broken = 3
    with pytest.raises(DeliveryError, match="The connection to"):
        b"".join(repository.read(Descriptor.of(handler.blob, "a/b")))


def test_small_document_that_is_large_is_not_read(served: tuple[type[_TokenRegistry], Registry]) -> None:
    handler, repository = served
    with pytest.raises(DeliveryError, match="announces 7 bytes where at most 6 are read"):
        repository.read_bytes(Descriptor.of(handler.blob, "a/b"), limit=6)


def test_insecure_is_refused_for_another_machine() -> None:
    with pytest.raises(UsageError, match="is not on it"):
        Transport("registry.example.com", insecure=True)


def test_password_of_netrc_does_not_replace_the_token(
    served: tuple[type[_TokenRegistry], Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password secret\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    handler, repository = served
    assert repository.has_blob(f"sha256:{'0' * 64}")
    assert not [authorization for *_, authorization in handler.seen if authorization.startswith("Basic")]


def test_registry_may_ask_to_wait_by_seconds_or_by_date() -> None:
    waits: list[float] = []
    patience = Patience(3, 0.5, waits.append)
    for failures, text in ((1, ""), (3, ""), (1, "5"), (1, "100000"), (1, "soon"), (1, "Mon, 30 Nov 2020 00:00:00 GMT")):
        patience.wait(failures, text)
    assert 0.4 <= waits[0] <= 0.6 and 1.6 <= waits[1] <= 2.4 and waits[2:4] == [5.0, 60.0] and max(waits[4:]) <= 0.6


class _ResumingRegistry(AnyMethod):
    """A registry that cuts the first upload after three bytes, but keeps them."""

    received = b""
    seen: list[tuple[str, str]]

    def serve(self) -> None:
        self.seen.append((self.command, self.headers.get("Content-Range", "")))
        server = type(self)
        if self.command == "PATCH" and not server.received:
            server.received = self.rfile.read(3)
            self.close_connection = True
            return
        server.received += self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response({"POST": 202, "PATCH": 202, "GET": 204, "PUT": 201}[self.command])
        for name, value in (("Location", "/upload"), ("Range", f"0-{len(self.received) - 1}"), ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()


def test_upload_goes_on_where_it_was_cut_if_the_registry_kept_it() -> None:
    handler = type("Handler", (_ResumingRegistry,), {"seen": []})
    with running(handler) as host:
        repository = Registry.at(OciAddress(host, "a/b"), insecure=True, patience=Patience(3, 0.001))
        data, reports = b"weights", list[int]()
        repository.upload(Descriptor.of(data, "a/b"), lambda offset: iter([data[offset:]]), reports.append)
    assert handler.received == data and reports[-2:] == [3, 7]
    assert handler.seen == [("POST", ""), ("PATCH", ""), ("GET", ""), ("PATCH", "3-6"), ("PUT", "")]
