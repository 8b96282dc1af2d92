"""Start a server: `python -m serving.server --port=8500 --rest_api_port=8501 --model_config_file=models.config`.

It takes tensorflow_model_server's flags. A server that cannot start prints the real server's error and exits with 255. --help
exits with 255 too, as in the real server.
"""

from __future__ import annotations

import os
import sys

from serving.errors import ServingError
from serving.imports import leave_keras_out
from serving.protocol.status import StatusError
from serving.server.config.files import ConfigTextError
from serving.server.config.flags import parse_flags
from serving.server.config.usage import asks_version, usage, versions
from serving.server.observability.log_lines import configure_logging, log_format
from serving.texts import printable

FAILED = 255


def main(arguments: list[str]) -> int:
    """Run the server until it is stopped.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit code.
    """
    # TensorFlow logs each SavedModel that it reads to stderr; its errors are still shown. gRPC's C library repeats a line each
    # second while all file descriptors are in use, which this server says less often.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if "--help" in arguments:
        print(usage("python -m serving.server"))
        return FAILED
    if asks_version(arguments):
        print(versions())
        return 0
    try:
        configure_logging(log_format(arguments))
        options = parse_flags(arguments)
        options.check()
        leave_keras_out()
        from serving.server.server import serve

        serve(options)
    except ConfigTextError as exc:
        return _failed(f"{exc}\n{exc.detail}")
    except StatusError as exc:
        return _failed(str(exc))
    except ServingError as exc:
        _print(printable(str(exc), lines=True))
        return FAILED
    return 0


def _failed(error: str) -> int:
    _print(f"Failed to start server. Error: {printable(error, lines=True)}")
    return FAILED


def _print(text: str) -> None:
    """Print a text that may quote a path with bytes that are not UTF-8."""
    print(text.encode("utf-8", "backslashreplace").decode())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before the server handles signals
        sys.exit(130)
