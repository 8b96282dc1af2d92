"""tfbundle smoke without a server."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bundler.cli.commands import run


def test_smoke_fails_if_nothing_listens(copy: Path) -> None:
    result = run("smoke", "127.0.0.1:1", "--bundle", copy, "--timeout", "0.3", "--json", code=1)
    assert json.loads(result.stdout)["passed"] is False
    assert "nonsense" in run("smoke", "nonsense", "--bundle", copy, code=2).stderr
