"""`python -m serving.server --port=8500 --rest_api_port=8501 --model_config_file=models.config`

Takes tensorflow_model_server's flags. A server that cannot start says why in the real server's words and exits with 255;
so does one that is asked for its flags (--help), as there.
"""

from __future__ import annotations

import os
import sys

from serving.errors import ServingError
from serving.imports import leave_keras_out
from serving.protocol.status import StatusError
from serving.server.config_files import ConfigTextError
from serving.server.flags import parse_flags
from serving.server.log_lines import configure_logging, log_format
from serving.server.usage import asks_version, usage, versions

FAILED = 255


def main(arguments: list[str]) -> int:
    # TensorFlow logs each SavedModel it reads to stderr; its errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
        print(exc)
        return FAILED
    return 0


def _failed(why: str) -> int:
    print(f"Failed to start server. Error: {why}")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
