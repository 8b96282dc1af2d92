"""Runs the command line within the test's process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from bundler.cli.app import app


def run(*arguments: object, code: int | None = 0) -> Result:
    """Run tfbundle and return its result; fail on another exit code (None: any) or a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert code is None or result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
