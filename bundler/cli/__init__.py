"""The command line: parses, calls, prints; no logic. One file a command group."""

from __future__ import annotations


def main() -> None:
    """Entry point of `tfbundle`."""
    import gc

    from bundler.cli.app import app

    try:
        app(prog_name="tfbundle")
    finally:
        # The interpreter's last collections walk all of torch and TensorFlow: two seconds that free nothing.
        gc.freeze()
