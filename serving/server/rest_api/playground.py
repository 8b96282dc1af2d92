"""The playground at `/`: the served models, a form per signature, and the same call for curl, Python and grpcurl.

`/` is the only path that differs from the real server, which answers it with an HTML 404. The page is `page/index.html` with
the style and scripts beside it inlined; it loads nothing else and calls only the REST interface. TensorFlow Serving has no
request that lists the models; here `/` returns the list with `Accept: application/json`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.lazy import once
from serving.server.models.core import ServerCore

PATH = "/"
FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("json.js", "dom.js", "tensors.js", "image.js", "inputs.js", "body.js", "snippets.js", "answer.js", "main.js")
"""The scripts, each after those it uses."""


@dataclass(frozen=True)
class Page:
    """An HTML document and its Content-Security-Policy."""

    html: bytes
    policy: str


@dataclass(frozen=True)
class Playground:
    """Answers requests for `/`.

    Attributes:
        core: the models.
        grpc_port: None if gRPC listens on a socket path only.
        tls: whether gRPC uses TLS.
    """

    core: ServerCore
    grpc_port: int | None
    tls: bool

    def answer(self, headers: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
        """Return the page, or the list of models if the client accepts JSON.

        Args:
            headers: the request's headers, names in lower case.

        Returns:
            The response's headers and body.
        """
        common = {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
        if headers.get("accept", "") == "application/json":
            return {**common, "Content-Type": "application/json"}, self._listing()
        page = read_page()
        policies = {"Content-Security-Policy": page.policy, "Referrer-Policy": "no-referrer"}
        return {**common, **policies, "Content-Type": "text/html; charset=utf-8"}, page.html

    def _listing(self) -> bytes:
        models = [{"name": name, "labels": labels} for name, labels in self.core.models().items()]
        grpc = None if self.grpc_port is None else {"port": self.grpc_port, "tls": self.tls}
        return json.dumps({"models": models, "grpc": grpc}).encode()


@once
def read_page() -> Page:
    """Return the page, with a policy that allows its own style and script only."""
    html = (FOLDER / "index.html").read_text("utf-8")
    style = (FOLDER / "style.css").read_text("utf-8")
    script = "\n".join((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    for tag, content in (("style", style), ("script", script)):
        html = html.replace(f"<{tag}></{tag}>", f"<{tag}>{content}</{tag}>", 1)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return Page(html.encode(), policy)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
