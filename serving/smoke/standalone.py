"""Command line of the smoke test that stands in a bundle; needs grpcio, protobuf and NumPy alone.

`tfbundle smoke` is the same test from the tool itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError
from serving.smoke.run import Check, golden_files, run


def main(argv: Sequence[str], golden: Path) -> int:
    """Run the smoke test of the golden data in the folder `golden`.

    Returns:
        The exit code: 0 passed, 1 failed, 2 wrong usage.
    """
    options = _parser().parse_args(argv)
    try:
        files = [f for f in golden_files(golden) if options.model is None or f.model == options.model]
        report = run(
            options.target,
            files,
            rest=options.rest,
            timeout=options.timeout,
            progress=None if options.json else _show,
        )
    except ServingError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    print(json.dumps(report.to_json(), indent=1) if options.json else report.verdict())
    return 0 if report.passed else 1


def _show(check: Check) -> None:
    print(check, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Ask a model server what PyTorch was asked, and compare the answers.",
        epilog="exit code: 0 passed, 1 failed, 2 wrong usage",
    )
    parser.add_argument("target", metavar="HOST:PORT", help="gRPC port of the server, or an http:// URL for REST alone")
    parser.add_argument("--rest", metavar="HOST:PORT", help="its REST port, to test both")
    parser.add_argument("--model", metavar="NAME", help="test this model alone")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the models to be available, and for an answer (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
