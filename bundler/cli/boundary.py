"""The only place where errors become messages and exit codes.

0    done
1    the build or check failed
2    wrong usage
3    parity, an accuracy gate or a bound of a comparison not met
130  interrupted (Ctrl-C)
143  terminated (SIGTERM)
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from bundler.cli.debug import DEBUG_ENV, debugging
from bundler.cli.help import HelpGroup
from bundler.cli.output import echo, print_failure, reset_json
from bundler.process.causes import cause_of
from bundler.process.extras import explained

_LONGEST_PATH = 300
"""Characters of a path in a message."""


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception, so that context managers clean up."""


class Boundary(HelpGroup):
    """A group that prints the errors of its commands without a traceback, and accepts `--debug` at any position."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `--debug` is taken out of them first, unless it follows `--`."""
        options = args[: args.index("--")] if "--" in args else args
        reset_json(wanted="--json" in options)
        if "--debug" in options:
            os.environ[DEBUG_ENV] = "1"
            args = [arg for arg in options if arg != "--debug"] + args[len(options) :]
        return super().parse_args(ctx, args)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **settings: Any) -> Any:
        """Parse the options before the command; a wrong one becomes a message and `typer.Exit`, as an error of a command does."""
        is_alone = not args
        try:
            return super().make_context(info_name, args, *more, **settings)
        except Exception as exc:
            if not hasattr(exc, "format_message"):
                raise
            if is_alone:  # the error's message is the help
                typer.echo(exc.format_message())
                raise typer.Exit(2) from exc
            raise typer.Exit(_explain(exc)) from exc

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes a message and `typer.Exit` with its exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as exc:
            raise typer.Exit(_explain_interrupt(exc)) from exc
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as exc:
            raise typer.Exit(_explain(exc)) from exc


def _explain(exc: Exception) -> int:
    """Print an error and return its exit code."""
    from bundler.errors import TfbundleError
    from serving.errors import ServingError

    if hasattr(exc, "format_message"):  # ClickException of click, or of the copy of click within typer
        path = getattr(getattr(exc, "ctx", None), "command_path", "tfbundle")
        return print_failure(exc.format_message(), getattr(exc, "exit_code", 2), fix=f"see `{path} --help`", code="TFB1007")
    if debugging():
        _print_traceback(exc)
    if isinstance(exc, (TfbundleError, ServingError)):
        return print_failure(exc.what, exc.exit_code, where=exc.where, fix=exc.fix, code=exc.code)
    if isinstance(exc, PermissionError) and exc.filename:
        fix = "change the permissions, or run the command as a user who has them"
        return print_failure(f"{exc.filename}: {exc.strerror}.", 1, fix=fix, code="TFB8101")
    if isinstance(exc, OSError) and exc.filename:
        what = f"{str(exc.filename)[:_LONGEST_PATH]}: {exc.strerror}."
        return print_failure(what, 1, fix="check the path, and the disk that it is on", code="TFB8101")
    missing = explained(exc, "This command") if isinstance(exc, ImportError) else None
    if missing is not None:
        return print_failure(missing.what, missing.exit_code, fix=missing.fix, code=missing.code)
    cause = cause_of(exc) if str(exc).strip() else ""
    fix = "run with --debug for the traceback"
    return print_failure(f"Unexpected {type(exc).__name__}: {cause}", 1, fix=fix, code="TFB8901")


def _explain_interrupt(exc: KeyboardInterrupt) -> int:
    if debugging():
        _print_traceback(exc)
    word = "Terminated" if isinstance(exc, Terminated) else "Interrupted"
    return print_failure(f"{word}: {exc}" if exc.args else f"{word}.", 143 if isinstance(exc, Terminated) else 130)


def _print_traceback(exc: BaseException) -> None:
    import traceback

    echo("".join(traceback.format_exception(exc)).rstrip("\n"))


@contextmanager
def cleanly_interrupted(consequence: str) -> Iterator[None]:
    """Return a context in which SIGTERM raises as Ctrl-C does, and an interruption reports its consequence.

    Args:
        consequence: what an interruption means for the user's files, as a sentence.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as exc:
        raise type(exc)(consequence) from exc
    finally:
        signal.signal(signal.SIGTERM, before)
