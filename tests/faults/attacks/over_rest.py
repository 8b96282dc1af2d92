"""Attacks over the REST port."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import repeat

import psutil

from tests.faults.attacks.attack import SECONDS, Attack, at_once, counted, repeated
from tests.faults.light_client import processor_seconds
from tests.faults.victim import Victim

MIB = 2**20
BODY = "--max_request_bytes"
DECODED = "--max_decoded_bytes"
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n"


def json_of(start: bytes, part: bytes, count: int, end: bytes = b"") -> bytes:
    """Return a JSON body with a part that is repeated, and a comma between two."""
    return start + (part + b",") * (count - 1) + part + end


def posted(body: Callable[[], bytes], *, headers: dict[str, str] | None = None, times: int = 1) -> Callable[[Victim], str]:
    """Return an attack that posts a body, the same one `times` times at once."""

    def run(victim: Victim) -> str:
        data = body()
        return counted(at_once(lambda: _short(victim.post(data, headers=headers)), times))

    return run


def _short(answer: tuple[int, bytes]) -> str:
    status, data = answer
    return str(status) if status else data.decode()


def rows(mebibytes: int) -> Callable[[], bytes]:
    """Return a function that makes a body with so many MiB of rows."""
    row = b"[1.00000000,2.00000000,3.00000000,4.00000000]"
    return lambda: json_of(b'{"signature_name":"single","instances":[', row, mebibytes * MIB // (len(row) + 1), b"]}")


def digits_32_mb() -> bytes:
    return json_of(b'{"instances":[', b"1", 16 * MIB, b"]}")


def blanks_32_mb() -> bytes:
    return b" " * (32 * MIB)


def text_32_mb() -> bytes:
    return b'{"instances":["' + b"\\u0041" * (32 * MIB // 6) + b'"]}'


def gzip_of(start: bytes, part: bytes, mebibytes: int) -> Callable[[], bytes]:
    """Return a function that packs a start and then so many MiB of a repeated byte."""

    def pack() -> bytes:
        packing = zlib.compressobj(9, wbits=31)
        packed = [packing.compress(start), *(packing.compress(part * MIB) for _ in range(mebibytes))]
        return b"".join(packed) + packing.flush()

    return pack


GZIP = {"Content-Encoding": "gzip"}


def endless_body(victim: Victim) -> str:
    """Send 2 GB in chunks, unless the server stops that."""
    sent, part = 0, b"100000\r\n" + b" " * MIB + b"\r\n"
    with victim.raw() as connection:
        try:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            while sent < 2048:
                connection.sendall(part)
                sent += 1
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        return f"{_status(connection)} after {sent} MB"


def _status(connection: socket.socket) -> str:
    """Return the status of the answer, or how the connection ended."""
    try:
        head = connection.recv(65536)
    except TimeoutError:
        return "nothing"
    except OSError as exc:
        return type(exc).__name__
    return head.split(b" ")[1].decode() if head.count(b" ") > 1 else "closed"


def error_that_echoes(victim: Victim) -> str:
    status, answer = victim.post(b'{"instances":[{"b64":"' + b"A" * MIB + b'"}]}')
    assert len(answer) < 16384, f"the error has {len(answer)} bytes"
    return f"{status}, {len(answer)} bytes"


def answers_that_nobody_reads(victim: Victim) -> str:
    """Request 50 answers of 25 MB each and read none; the server must close the connections."""
    body = b'{"signature_name":"fill","inputs":5000000}'
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with ExitStack() as opened:
        connections = []
        for _ in range(50):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", victim.server.rest_port))
            connection.sendall(request)
            connections.append(connection)
        time.sleep(2 * SECONDS)
        open_still = {c.raddr.port for c in psutil.Process(victim.server.pid).net_connections() if c.raddr}
        kept = sum(connection.getsockname()[1] in open_still for connection in connections)
    assert kept <= 5, f"{kept} of 50 connections are kept"
    return f"{50 - kept} of 50 cut off"


def slowly(start: bytes, step: bytes, count: int) -> Callable[[Victim], str]:
    """Return an attack by many connections that send a few bytes each half second; the server must end them."""

    def run(victim: Victim) -> str:
        with ExitStack() as opened:
            connections = [opened.enter_context(victim.raw()) for _ in range(count)]
            for connection in connections:
                connection.sendall(start)
            end = time.monotonic() + 1.6 * SECONDS
            while time.monotonic() < end:
                time.sleep(0.5)
                for connection in connections:
                    with suppress(OSError):
                        connection.sendall(step)
            for connection in connections:
                connection.settimeout(0.01)
            answers = [_status(connection) for connection in connections]
        assert "nothing" not in answers, f"{answers.count('nothing')} of {count} connections are kept"
        return counted(answers)

    return run


def work_after_the_answer(victim: Victim) -> str:
    """Send bodies that take long from clients that leave soon; then the server must stop working on them."""
    body = rows(31)()[: 30 * MIB]
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)

    def ask() -> str:
        with victim.raw() as connection:
            try:
                connection.sendall(request)
                connection.sendall(body)
                connection.settimeout(0.2)
                return _status(connection)
            except OSError as exc:
                return type(exc).__name__

    answers = repeated(ask, threads=4)
    time.sleep(0.5)
    before = processor_seconds(victim.server.pid)
    time.sleep(1.5)
    busy = processor_seconds(victim.server.pid) - before
    assert busy < 1.0, f"{busy:.1f} s of processor time within 1.5 s, after all clients have gone"
    return f"{len(answers)} abandoned, then {busy:.1f} s of work"


def pipelined(victim: Victim) -> str:
    """Send requests without an end over one connection and read none of the answers."""
    requests = b"GET /v1/models/m HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    sent, end = 0, time.monotonic() + SECONDS
    with victim.raw() as connection:
        connection.settimeout(0.5)
        while time.monotonic() < end:
            try:
                sent += connection.send(requests)
            except TimeoutError:
                continue
            except OSError:
                break
    return f"{sent // 47} requests taken"


def headers(lines: Iterable[bytes]) -> Callable[[Victim], str]:
    """Return an attack by a request with these header lines."""

    def run(victim: Victim) -> str:
        with victim.raw() as connection:
            sent = 0
            try:
                connection.sendall(HEAD)
                for line in lines:
                    connection.sendall(line)
                    sent += len(line)
                connection.sendall(b"Content-Length: 0\r\n\r\n")
            except OSError:
                pass
            return f"{_status(connection)} after {sent / MIB:.1f} MB"

    return run


def _endless_header() -> Iterator[bytes]:
    yield b"X-Long: "
    yield from repeat(b"x" * MIB, 50)
    yield b"\r\n"


def refused_header(header: str, value: str) -> Callable[[Victim], str]:
    """Return an attack by a request of a foreign page, which must not be answered."""

    def run(victim: Victim) -> str:
        status, _ = victim.post(b'{"signature_name":"single","instances":[[1,2,3,4]]}', headers={header: value})
        assert status in range(400, 500), f"{status} for {header}: {value}"
        return str(status)

    return run


ATTACKS = (
    Attack("100 MB of rows as JSON", posted(rows(100)), BODY),
    Attack("32 MB of rows as JSON, 4 at once", posted(rows(32), times=4), DECODED),
    Attack("32 MB of digits as JSON, 4 at once", posted(digits_32_mb, times=4), f"{DECODED}, --max_large_bodies"),
    Attack("32 MB of blanks", posted(blanks_32_mb), BODY),
    Attack("32 MB of escapes in one string", posted(text_32_mb), DECODED),
    Attack("chunked body without an end", endless_body, BODY),
    Attack("gzip: 30 KB for 30 MB of `[`", posted(gzip_of(b"", b"[", 30), headers=GZIP, times=4), "--max_nesting"),
    Attack("gzip: 30 KB for 30 MB of blanks", posted(gzip_of(b"", b" ", 30), headers=GZIP, times=4), DECODED),
    Attack("gzip: 1 MB for 1 GB", posted(gzip_of(b"", b" ", 1024), headers=GZIP), BODY),
    Attack("5 MB of `{\"a\":`", posted(lambda: b'{"a":' * MIB, times=4), "--max_nesting"),
    Attack("5 MB of `[`", posted(lambda: b"[" * (5 * MIB), times=4), "--max_nesting"),
    Attack("1 MB of base64 for a float", error_that_echoes, "none needed"),
    Attack("50 answers of 25 MB that nobody reads", answers_that_nobody_reads, "--write_timeout_in_ms"),
    Attack("200 heads, byte by byte", slowly(HEAD, b"X", 200), "--rest_api_timeout_in_ms"),
    Attack(
        "200 bodies, byte by byte", slowly(HEAD + b"Content-Length: 1000\r\n\r\n", b" ", 200), "--rest_api_timeout_in_ms"
    ),
    Attack("30 MB bodies of clients that leave", work_after_the_answer, "--rest_api_timeout_in_ms"),
    Attack("pipelined requests without an end", pipelined, "--write_timeout_in_ms"),
    Attack("a header of 50 MB", headers(list(_endless_header())), "none needed"),
    Attack("a million headers", headers(repeat(b"X-A: b\r\n" * 1000, 1000)), "none needed"),
    Attack("Host of a rebound name", refused_header("Host", "attacker.example"), "--allowed_hosts"),
    Attack("Origin of a foreign page", refused_header("Origin", "http://attacker.example"), "--allowed_hosts"),
)
