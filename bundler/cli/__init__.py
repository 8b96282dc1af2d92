"""The command line: parses, calls, prints; no logic. One file a command group."""

from __future__ import annotations


def main() -> None:
    """Entry point of `tfbundle`."""
    from bundler.cli.app import app

    app(prog_name="tfbundle")
