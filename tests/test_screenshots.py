"""`make screenshots` without a browser. The pages' own tests show that they can be drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_missing_chromium_is_reported_with_its_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "docs.screenshots", str(tmp_path / "bundle"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Chromium (apt-get install chromium), chromedriver (apt-get install chromium-driver)" in done.stderr
    assert list(tmp_path.iterdir()) == []
