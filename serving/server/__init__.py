"""The embedded server: TensorFlow Serving's protocol, answered by TensorFlow in this process.

    with Server("dist/digits", grpc_port=8500, rest_port=8501) as server: ...
    serve(parse_flags(["--port=8500", "--model_config_file=models.config"]))

    flags.py        tensorflow_model_server's command line -> ServerOptions
    usage.py        what --help and --version print
    server.py       start, ports, stop
    core.py         model config and its reloads, labels, request -> version
    sources.py      version folders and policies          manager.py   versions: load, serve, drain, unload
    folders.py      is a folder complete?                 memory.py    what an unloaded version leaves
    servable.py     one SavedModel                        warmup.py    its recorded requests
    predict.py      tensors through a signature           examples.py  classify, regress, multi-inference
    grpc_service.py, rest.py, rest_server.py              models.py    metadata and status
    playground.py   the page at `/`, from page/

Only the modules that run a model import TensorFlow; this one does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.lazy import lazy_attributes

if TYPE_CHECKING:
    from serving.server.flags import parse_flags
    from serving.server.options import ServerOptions
    from serving.server.server import Server, serve

_MODULES = {"Server": "server", "ServerOptions": "options", "parse_flags": "flags", "serve": "server"}

__all__ = ["Server", "ServerOptions", "parse_flags", "serve"]

__getattr__ = lazy_attributes(__name__, _MODULES)
