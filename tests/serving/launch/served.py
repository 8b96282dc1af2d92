"""A folder with models/ and serving/, served like a bundle by the embedded server."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

from serving.server import parse_flags, serve


def main(arguments: list[str]) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    serve(replace(parse_flags(arguments[1:]), bundle=arguments[0], max_load_retries=0))
