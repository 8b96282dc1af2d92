from __future__ import annotations

import sys

import pytest

from serving.server.__main__ import FAILED, main
from serving.server.config.flags import FLAGS, UNSUPPORTED
from serving.server.config.options import ServerOptions


def test_help_lists_every_flag_and_exits_as_the_real_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port=1", "--help"]) == FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: python -m serving.server")
    listed = {line.split()[0].partition("=")[0] for line in lines if line.startswith("  --")}
    assert listed == {f"--{name}" for name in (*FLAGS, *UNSUPPORTED, "version", "help")}


def test_help_shows_defaults_as_a_flag_would_set_them() -> None:
    options = ServerOptions()
    for flag in FLAGS.values():
        if flag.option is not None:
            assert flag.read(flag.default_text(options)) == getattr(options, flag.option), flag


@pytest.mark.parametrize("flags", [["--version"], ["--port=8500", "--version=true", "--nope"]])
def test_version_is_two_lines(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    imported = "tensorflow" in sys.modules
    assert main(flags) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"TensorFlow ModelServer: tfbundle {version('tfbundle')}", f"TensorFlow Library: {version('tensorflow')}",
    ]  # fmt: skip
    assert ("tensorflow" in sys.modules) == imported
