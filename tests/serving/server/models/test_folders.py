"""Whether a version's folder is complete."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from serving.server.models.folders import Fingerprint, settled


def test_folder_is_settled_when_it_stops_changing(tmp_path: Path) -> None:
    never = threading.Event()
    (tmp_path / "a").write_text("x")
    first = Fingerprint.of(str(tmp_path))
    assert first.files[0][:2] == ("a", 1)
    assert settled(str(tmp_path), 0, never) == first
    assert settled(str(tmp_path), 0.05, never) == first
    os.utime(tmp_path / "a", (1, 1))
    assert Fingerprint.of(str(tmp_path)) != first
    assert settled(str(tmp_path / "nothing"), 5.0, never) == Fingerprint((), 0)
    cancelled = threading.Event()
    cancelled.set()
    assert settled(str(tmp_path), 60.0, cancelled).files
