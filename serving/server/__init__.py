"""The embedded server: TensorFlow Serving's protocol, answered by TensorFlow in this process.

    with Server("dist/digits", grpc_port=8500, rest_port=8501) as server: ...
    serve(parse_flags(["--port=8500", "--model_config_file=models.config"]))

Modules and folders, from top to bottom. Each imports only from rows below its own; folders in one row do not import each other.

    __main__.py, child.py      start a server from a command line, or for the process that started this one
    server.py                  load the models, open the ports, drain and stop
    signals.py                 SIGTERM and SIGINT
    grpc_api/   rest_api/      the two interfaces; rest_api/ also has the playground at `/`
    methods/                   Predict, Classify, Regress, MultiInference, metadata and status: message in, message out
    models/     batching/      which versions are served and their life cycle; requests that run as one batch
    servables/                 one loaded version: SavedModel or model.tflite, and its warm-up
    config/     observability/ options, flags and config files; log, metrics and the log of requests

Only the modules that run a model import TensorFlow; this one does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.lazy import lazy_attributes

if TYPE_CHECKING:
    from serving.server.config.flags import parse_flags
    from serving.server.config.options import ServerOptions
    from serving.server.server import Server, serve

_MODULES = {"Server": "server", "ServerOptions": "config.options", "parse_flags": "config.flags", "serve": "server"}

__all__ = ["Server", "ServerOptions", "parse_flags", "serve"]

__getattr__ = lazy_attributes(__name__, _MODULES, dict.fromkeys(("Server", "serve"), ("serve", "The embedded server")))
