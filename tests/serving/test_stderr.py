"""The output of C++ libraries is captured; Python's own stderr still reaches the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from serving.stderr import captured_stderr


def test_descriptor_2_is_captured_and_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as noise:
        os.write(2, b"E0000 from C++\n")
    os.write(2, b"after\n")
    assert noise.text == "E0000 from C++\n"
    assert capfd.readouterr().err == "after\n"


def test_descriptor_2_is_restored_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), captured_stderr() as noise:
        os.write(2, b"why\n")
        raise RuntimeError("stop")
    os.write(2, b"after\n")
    assert noise.text == "why\n"
    assert capfd.readouterr().err == "after\n"


def test_pythons_stderr_still_reaches_the_terminal() -> None:
    code = """
        import os, sys
        from serving.stderr import captured_stderr
        with captured_stderr() as noise:
            os.write(2, b"hidden")
            print("shown", file=sys.stderr)
        print("later", file=sys.stderr)
        print(noise.text)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stderr == "shown\nlater\n"
    assert ran.stdout == "hidden\n"
