"""The HTTP server of the REST interface: aiohttp with its own event loop and thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from serving.errors import ConfigError
from serving.server.config.options import ServerOptions
from serving.server.rest_api.api import Reply, RestApi, RestRequest, error_page
from serving.server.rest_api.connections import Connection, ConnectionServer

log = logging.getLogger(__name__)

_MAX_LINE = 2**20
"""Most bytes of a request line or a header; the real server has no limit."""


class RestServer:
    """An HTTP server that listens from `start()` until `stop()`.

    Args:
        api: answers the requests.
        options: the server's options; `rest_port` must be set.

    Attributes:
        port: once started, the port that it listens on.
    """

    def __init__(self, api: RestApi, options: ServerOptions) -> None:
        assert options.rest_port is not None
        self.port = options.rest_port
        self._api = api
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(max(options.rest_threads, 1), thread_name_prefix="rest")
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest-server", daemon=True)
        self._runner: web.ServerRunner | None = None

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
            raise ConfigError(f"REST cannot listen on {self._options.host}:{self.port}: {exc}.", fix=fix) from exc

    def stop(self) -> None:
        """Refuse new requests and wait for the running ones, up to the grace period."""
        if not self._thread.is_alive():
            return
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    async def _listen(self) -> None:
        # No auto_decompress: the API answers damaged gzip bodies itself.
        server = ConnectionServer(
            self._handle,
            refusal=lambda status: _response(error_page(status)),
            seconds=self._options.rest_timeout_seconds,
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
            return await self._answer(request)
        finally:
            connection.request_ends()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await asyncio.wait_for(request.content.read(), self._options.rest_timeout_seconds)
        except asyncio.TimeoutError:
            response = _response(self._api.timed_out())
            response.force_close()  # the rest of the body must not be read as a request
            return response
        headers = {name.lower(): value for name, value in request.headers.items()}
        rest_request = RestRequest(request.method, request.raw_path, headers, body)
        answer = self._loop.run_in_executor(self._pool, self._api.answer, rest_request)
        try:
            reply = await asyncio.wait_for(answer, self._options.rest_timeout_seconds)
        except asyncio.TimeoutError:
            reply = self._api.timed_out()
        return _response(reply)


def _response(reply: Reply) -> web.Response:
    response = web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    if reply.headers.get("Connection") == "close":
        response.force_close()
    return response
