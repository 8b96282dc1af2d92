"""The command line: it parses, calls and prints, and has no other logic. One file per command."""

from __future__ import annotations


def main() -> None:
    """Run `tfbundle`."""
    import gc

    from bundler.cli.app import app

    try:
        app(prog_name="tfbundle")
    finally:
        # The interpreter's last garbage collections would walk all of torch and TensorFlow: two seconds that free nothing.
        gc.freeze()
