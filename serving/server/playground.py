"""The page at `/`: what is served, a form per signature, and the same call for curl, Python and grpcurl.

One path and no other: the real server answers `/` with an HTML 404, and every other path is answered as it does. The
page is `page/index.html` with the style and the scripts beside it put in; it loads nothing and talks to the REST
interface alone. The list of models, which TensorFlow Serving has no request for, is `/` asked for as JSON
(`Accept: application/json`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from serving.server.core import ServerCore

PATH = "/"
FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("json.js", "dom.js", "tensors.js", "image.js", "inputs.js", "body.js", "snippets.js", "answer.js", "main.js")
"""In the order in which they need each other."""


@dataclass(frozen=True)
class Page:
    """A document and the policy that it is shown under."""

    html: bytes
    policy: str


@dataclass(frozen=True)
class Playground:
    """Answers `/`.

    Attributes:
        grpc_port: None where gRPC listens on a socket path alone.
        tls: whether gRPC asks for TLS.
    """

    core: ServerCore
    grpc_port: int | None
    tls: bool

    def answer(self, headers: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
        """Headers and body: the page, or the list of models for who accepts JSON. Names of `headers` in lower case."""
        common = {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
        if headers.get("accept", "") == "application/json":
            return {**common, "Content-Type": "application/json"}, self._listing()
        page = read_page()
        shown = {"Content-Security-Policy": page.policy, "Referrer-Policy": "no-referrer"}
        return {**common, **shown, "Content-Type": "text/html; charset=utf-8"}, page.html

    def _listing(self) -> bytes:
        models = [{"name": name, "labels": labels} for name, labels in self.core.models().items()]
        grpc = None if self.grpc_port is None else {"port": self.grpc_port, "tls": self.tls}
        return json.dumps({"models": models, "grpc": grpc}).encode()


@cache
def read_page() -> Page:
    """The page, and a policy that lets its own style and script run and nothing else."""
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
