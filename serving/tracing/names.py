"""Names of span attributes (OpenTelemetry semantic conventions 1.38, "RPC" and "HTTP"), and values that every exporter can write.

The conventions have no names for models that are served; those here begin with `tfserving.`, after the server.
"""

from __future__ import annotations

SCOPE = "tfbundle.serving"
"""Name of the instrumentation scope of all spans."""

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_FULL = "url.full"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
URL_TEMPLATE = "url.template"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
USER_AGENT = "user_agent.original"
ERROR_TYPE = "error.type"

MODEL_NAME = "tfserving.model.name"
MODEL_VERSION = "tfserving.model.version"
MODEL_LABEL = "tfserving.model.label"
MODEL_SIGNATURE = "tfserving.model.signature"
BATCH_ROWS = "tfserving.batch.rows"
BATCH_SIZE = "tfserving.batch.size"
BATCH_REQUESTS = "tfserving.batch.requests"

_LONGEST = 512


def safe_text(value: str) -> str:
    """Return a text that a client may have sent as an attribute: at most 512 characters, all of them UTF-8.

    A single character that is not UTF-8 would make an exporter drop its whole batch of spans.
    """
    return value[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def server_address(address: str) -> dict[str, str | int]:
    """Return the attributes of an address: `host:port`, or `unix:/path`, which has no port."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return {SERVER_ADDRESS: safe_text(address)}
    return {SERVER_ADDRESS: safe_text(host.strip("[]")), SERVER_PORT: int(port)}
