"""The HTTP server of the REST interface: aiohttp with its own event loop and thread."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from aiohttp import web

from serving.errors import ConfigError
from serving.protocol.status import StatusError
from serving.server.config.options import ServerOptions
from serving.server.models.memory import release
from serving.server.observability.tracing import Spans, current, mark
from serving.server.rest_api.api import RestApi
from serving.server.rest_api.bodies import Bodies, Held
from serving.server.rest_api.codec_process import Cancellation
from serving.server.rest_api.connections import Connection, ConnectionServer
from serving.server.rest_api.errors import TooLargeError
from serving.server.rest_api.exchange import Reply, RestRequest, error_page
from serving.server.rest_api.origins import refusal
from serving.server.rest_api.tracing import RequestSpans

log = logging.getLogger(__name__)

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors after which asyncio waits for a second before it accepts connections again."""

_MAX_LINE = 2**20
"""Most bytes of a request line or a header; the real server has no limit."""
_PART = 2**16
"""Bytes of an answer that are given to the connection at once."""
_STATUS_THREADS = 4
_RELEASE_SECONDS = 1.0
_LINGER_SECONDS = 2.0
"""How long the body of a refused request is thrown away, so that its client gets to read the answer."""


class RestServer:
    """An HTTP server that listens from `start()` until `stop()`.

    Args:
        api: answers the requests.
        options: the server's options; `rest_port` must be set.
        spans: begins the spans of the requests; None turns tracing off.

    Attributes:
        port: once started, the port that it listens on.
    """

    def __init__(self, api: RestApi, options: ServerOptions, spans: Spans | None = None) -> None:
        assert options.rest_port is not None
        self.port = options.rest_port
        self._api = api
        self._spans = RequestSpans(spans) if spans else None
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        threads = max(options.rest_threads, 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        # Probes and metrics are answered while all other threads are busy, so that overload does not look like an outage.
        self._status_pool = ThreadPoolExecutor(_STATUS_THREADS, thread_name_prefix="rest-status")
        # Large requests wait for each other in threads of their own, where they are not in the way of small ones.
        self._large_pool = ThreadPoolExecutor(threads, thread_name_prefix="rest-large")
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest-server", daemon=True)
        self._runner: web.ServerRunner | None = None
        self._bodies: Bodies | None = None
        self._will_release = False

    def start(self) -> None:
        """Begin to listen.

        Raises:
            ConfigError: the port cannot be used.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError as exc:
            self.stop()
            fix = "stop the process that uses it, or choose another port with --rest_api_port"
            raise ConfigError(
                f"REST cannot listen on {self._options.host}:{self.port}: {exc}.", fix=fix, code="TFB6004"
            ) from exc

    def stop(self) -> None:
        """Refuse new requests and wait for the running ones, up to the grace period."""
        if not self._thread.is_alive():
            return
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for pool in (self._pool, self._status_pool, self._large_pool):
            pool.shutdown()
        if self._api.codecs is not None:
            self._api.codecs.stop()

    async def _listen(self) -> None:
        self._bodies = Bodies(self._options)
        # No auto_decompress: the API answers damaged gzip bodies itself.
        server = ConnectionServer(
            self._handle,
            refusal=lambda status: _response(error_page(status)),
            seconds=self._options.rest_timeout_seconds,
            write_seconds=self._options.write_timeout_seconds,
            handler_cancellation=True,
            lingering_time=_LINGER_SECONDS,
            access_log=None,
            auto_decompress=False,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=self._options.grace_seconds)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.request_begins()
        try:
            return await (self._spans.answer(request, self._answer) if self._spans else self._answer(request))
        finally:
            connection.request_ends()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if error := refusal(request.method, headers, self._options):
            return _response(self._api.refused(HTTPStatus.FORBIDDEN, error))
        assert self._bodies is not None
        held = Held()
        try:
            reading = asyncio.wait_for(self._bodies.read(request, held), self._options.rest_timeout_seconds)
            # No variable refers to the body, so that it does not live until the answer is sent.
            reply = await self._reply(RestRequest(request.method, request.raw_path, headers, await reading, current()))
        except TooLargeError as exc:
            return _response(self._api.refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, exc.message))
        except asyncio.TimeoutError:
            return _response(self._api.timed_out())
        finally:
            if held.size:
                self._release_memory()
            self._bodies.release(held)
        return _response(reply) if len(reply.body) <= _PART else await self._sent(request, reply)

    async def _reply(self, request: RestRequest) -> Reply:
        """Answer a request in other threads. If this takes too long or the client has gone, the work for it ends."""
        cancellation = Cancellation()
        try:
            return await asyncio.wait_for(self._written(request, cancellation), self._options.rest_timeout_seconds)
        except asyncio.TimeoutError:
            cancellation.cancel()
            return self._api.timed_out()
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    async def _written(self, request: RestRequest, cancellation: Cancellation) -> Reply:
        mark("wait")
        pool = self._large_pool if request.is_large else self._status_pool if request.method == "GET" else self._pool
        begun = await self._loop.run_in_executor(pool, self._api.begin, request, cancellation)
        if isinstance(begun, Reply):
            return begun
        try:
            return await self._loop.run_in_executor(self._large_pool, begun.write)
        finally:
            begun.held.release()
            self._release_memory()

    async def _sent(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """Send a large reply in parts, each within the connection's time limit for writing."""
        assert self._api.codecs is not None
        try:
            held = self._api.codecs.answers.hold(len(reply.body))
        except StatusError as exc:
            return _response(self._api.refused(HTTPStatus(exc.http_status), exc.message))
        try:
            response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
            response.content_length = len(reply.body)
            await response.prepare(request)
            rest = memoryview(reply.body)
            for start in range(0, rest.nbytes, _PART):
                await response.write(rest[start : start + _PART])
            await response.write_eof()
            return response
        finally:
            held.release()
            self._release_memory()

    def _release_memory(self) -> None:
        """Return the memory of large requests to the system, once for those of a second."""
        if not self._will_release:
            self._will_release = True
            self._loop.call_later(_RELEASE_SECONDS, self._release_now)

    def _release_now(self) -> None:
        self._will_release = False
        self._loop.run_in_executor(self._pool, release)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in the event loop; a connection that cannot be accepted in one line, without a traceback."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
        log.warning("REST accepts no connection for a second: %s. Raise the limit (ulimit -n).", error.strerror)
    else:
        loop.default_exception_handler(context)


def _response(reply: Reply) -> web.Response:
    response = web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    if reply.headers.get("Connection") == "close":
        response.force_close()
    return response
