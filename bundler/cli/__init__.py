"""The command line: it parses, calls and prints, and has no other logic. One file per command."""

from __future__ import annotations


def main() -> None:
    """Run `tfbundle`."""
    import gc
    import sys

    from bundler.cli.app import app

    sys.unraisablehook = _keep_interrupt
    try:
        app(prog_name="tfbundle")
    finally:
        # The interpreter's last garbage collections would walk all of torch and TensorFlow: two seconds that free nothing.
        gc.freeze()


def _keep_interrupt(unraisable: object) -> None:
    """Interrupt again if Ctrl-C has come within a __del__, where Python prints an exception and goes on."""
    import _thread
    import sys
    import threading

    if issubclass(unraisable.exc_type, KeyboardInterrupt):  # type: ignore[attr-defined]  # sys.UnraisableHookArgs
        threading.Timer(0.01, _thread.interrupt_main).start()  # after this function, in which it would be ignored, too
    else:
        sys.__unraisablehook__(unraisable)  # type: ignore[arg-type]
