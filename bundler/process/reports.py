"""Reports of failures, written where the user finds them."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from datetime import datetime
from pathlib import Path


def keep_report(subject: str, suffix: str, text: str) -> Path:
    """Write a report to the current folder, or to the folder for temporary files if the current one cannot be written.

    The file is new and only its owner can read it. Its name cannot be predicted, so that nobody can put a link there before.

    Args:
        subject: what failed, for the file's name: `tfbundle-<subject>-<time>-<random><suffix>`.
        suffix: the file's suffix, such as `.md`.
        text: the report.

    Returns:
        The file.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    path = folder / f"tfbundle-{re.sub(r'[^A-Za-z0-9_-]', '_', subject)}-{stamp}-{secrets.token_hex(4)}{suffix}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path
