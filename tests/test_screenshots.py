"""`make docs`: what it says where there is no browser. That the pages can be drawn is for their own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_without_chromium_it_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "docs.screenshots", str(tmp_path / "bundle"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Chromium (apt-get install chromium), chromedriver (apt-get install chromium-driver)" in done.stderr
    assert list(tmp_path.iterdir()) == []
