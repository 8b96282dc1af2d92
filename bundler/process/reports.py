"""Reports of failures, written where the user finds them."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import datetime
from pathlib import Path


def keep_report(subject: str, suffix: str, text: str) -> Path:
    """Write a report to the current folder, or to the folder for temporary files if the current one cannot be written.

    Args:
        subject: what failed, for the file's name: `tfbundle-<subject>-<time><suffix>`.
        suffix: the file's suffix, such as `.md`.
        text: the report.

    Returns:
        The file.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    path = folder / f"tfbundle-{re.sub(r'[^A-Za-z0-9_-]', '_', subject)}-{stamp}{suffix}"
    path.write_text(text, "utf-8")
    return path
