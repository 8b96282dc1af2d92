"""Command line of a bundle's own smoke test; needs only grpcio, protobuf and NumPy.

`tfbundle smoke` runs the same test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.client.connection_flags import add_flags, settings_from_flags
from serving.errors import ServingError
from serving.smoke.run import Check, golden_files, run
from serving.texts import json_text, printable


def main(argv: Sequence[str], golden: Path) -> int:
    """Run the smoke test and print its result.

    Args:
        argv: the arguments, without the program's name.
        golden: folder of the golden data, `<model>/<version>.npz`.

    Returns:
        The exit code: 0 passed, 1 failed, 2 wrong usage.
    """
    options = _parser().parse_args(argv)
    try:
        files = [file for file in golden_files(golden) if options.model is None or file.model == options.model]
        report = run(
            options.target,
            files,
            rest=options.rest,
            timeout=options.timeout,
            connection=settings_from_flags(options),
            progress=None if options.json else _show,
        )
    except ServingError as exc:
        print(printable(str(exc), lines=True), file=sys.stderr)
        return exc.exit_code
    print(json_text(report.to_json(), indent=1) if options.json else printable(report.verdict()))
    return 0 if report.passed else 1


def _show(check: Check) -> None:
    print(printable(str(check), lines=True), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Send a model server the inputs that PyTorch was given, and compare the answers.",
        epilog="exit code: 0 passed, 1 failed, 2 wrong usage",
    )
    parser.add_argument("target", metavar="HOST:PORT", help="gRPC port of the server, or an http:// URL to test REST alone")
    parser.add_argument("--rest", metavar="HOST:PORT", help="REST port of the server, to test both")
    parser.add_argument("--model", metavar="NAME", help="test only this model")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the models to become available, and for each answer (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_flags(parser)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
