"""A proxy before a registry that misbehaves as a test asks: answers errors, cuts connections, exchanges bytes, keeps waiting."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SECONDS = 30.0
_CHUNK = 1 << 16


@dataclass
class Fault:
    """A request that goes wrong.

    Attributes:
        method: its method.
        path: pattern that is searched in its path.
        status: status to answer with instead of asking the registry; 0 to ask it.
        headers: headers of that answer.
        cut_body_after: bytes of the request's body after which the connection is cut.
        cut_answer_after: bytes of the answer's body after which the connection is cut.
        flip: whether the first byte of the answer's body is another one than the registry's.
        hold: whether the request waits until `release` is set; `held` tells that it does.
        times: how often it happens.
    """

    method: str
    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_body_after: int | None = None
    cut_answer_after: int | None = None
    flip: bool = False
    hold: bool = False
    times: int = 1
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        host: its host and port.
        faults: what goes wrong; a test adds to it.
        requests: method and path of each request, and its header Range.
    """

    host: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def address(self, rest: str) -> str:
        """Return the address of a repository or tag behind it."""
        return f"oci://{self.host}/{rest}"

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests there were with a method and a pattern in their path."""
        return sum(each == method and re.search(path, where) is not None for each, where, _ in self.requests)

    def take(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


class AnyMethod(BaseHTTPRequestHandler):
    """Serves requests of all methods by `serve`, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> object:
        """Return the method for a request, such as do_GET."""
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def serve(self) -> None:
        """Answer a request."""
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Handler(AnyMethod):
    upstream = ""
    proxy: Proxy

    def serve(self) -> None:
        """Pass a request on, or let it go wrong."""
        self.proxy.requests.append((self.command, self.path, self.headers.get("Range", "")))
        fault = self.proxy.take(self.command, self.path) or Fault("", "")
        if fault.hold:
            fault.held.set()
            fault.release.wait(_SECONDS)
        if fault.status:
            self._skip_body()
            self.send_response(fault.status)
            for name, value in {"Content-Length": "0", **fault.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        with suppress(OSError, http.client.HTTPException):
            self._forward(fault)


    def _skip_body(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left and (chunk := self.rfile.read(min(_CHUNK, left))):
            left -= len(chunk)

    def _forward(self, fault: Fault) -> None:
        connection = http.client.HTTPConnection(self.upstream, timeout=_SECONDS)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if not self._send_body(connection, fault):
            self._cut()
            connection.close()
            return
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self._send_answer(answer, fault)
        connection.close()

    def _send_body(self, connection: http.client.HTTPConnection, fault: Fault) -> bool:
        """Pass the request's body on; return False if it is to be cut."""
        left = int(self.headers.get("Content-Length") or 0)
        if fault.cut_body_after is not None:
            left = min(left, fault.cut_body_after)
        while left and (chunk := self.rfile.read(min(_CHUNK, left))):
            connection.send(chunk)
            left -= len(chunk)
        return fault.cut_body_after is None

    def _send_answer(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        left, is_first = fault.cut_answer_after, True
        while chunk := answer.read(_CHUNK if left is None else min(_CHUNK, left)):
            if fault.flip and is_first:
                chunk, is_first = bytes([chunk[0] ^ 1]) + chunk[1:], False
            self.wfile.write(chunk)
            left = None if left is None else left - len(chunk)
            if left == 0:
                break
        if fault.cut_answer_after is not None:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def before(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before a registry.

    Args:
        upstream: host and port of the registry.
    """
    handler = type("Handler", (_Handler,), {"upstream": upstream})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy = Proxy(f"127.0.0.1:{server.server_address[1]}")
    handler.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        for fault in proxy.faults:
            fault.release.set()
        server.shutdown()
        thread.join(_SECONDS)
        server.server_close()
