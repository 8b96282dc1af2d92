"""LiteRT.js from npm's registry, in the versions of tests/npm/package-lock.json, and a web server for pages that use it."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.requirements import require, require_program

LOCK = Path(__file__).parent / "npm"


def node_modules() -> Path:
    """Return the folder of the packages; they are downloaded once, and npm checks them against the lock file's hashes."""
    npm = require_program("npm", install="apt-get install npm")
    digest = hashlib.sha256((LOCK / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfbundle-tests"
    folder = cache / f"npm-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            project = Path(shutil.copytree(LOCK, Path(work) / "npm"))
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=300)
            require(done.returncode == 0, f"@litertjs/core (npm ci from registry.npmjs.org: {done.stderr[-200:].strip()})")
            try:
                project.rename(folder)
            except OSError:
                assert folder.exists()  # another test process was faster
    return folder / "node_modules"


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")  # as a CDN does
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve a folder's files over HTTP, or HTTPS with a context; yields the address, which ends in a slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
