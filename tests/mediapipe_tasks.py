"""MediaPipe from PyPI, in an environment of its own: with its dependencies, it takes 650 MB."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.requirements import require

VERSION = "1.2.3"
_RUNNER = Path(__file__).parent / "mediapipe_runner.py"


@dataclass(frozen=True)
class Question:
    """A task such as `ImageClassifier`, a .tflite file, and an image file or a sentence."""

    task: str
    file: str
    image: str = ""
    text: str = ""


def ask(questions: Sequence[Question]) -> list[Any]:
    """Return the answers: a list of numbers per output of the file, or MediaPipe's error as a string.

    A classifier's numbers are pairs of the label and the score, in the order of the classes.
    """
    request = json.dumps([asdict(question) for question in questions])
    command = [str(_python()), str(_RUNNER)]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[Any] = json.loads(done.stdout)
    return answers


def _python() -> Path:
    """Return the interpreter of the environment, which is made once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfbundle-tests"
    folder = cache / f"mediapipe-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not python.exists():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=cache))
        try:
            _run([sys.executable, "-m", "venv", "--copies", str(work)])
            _run([str(work / "bin" / "python"), "-m", "pip", "install", "--quiet", f"mediapipe=={VERSION}"])
            work.chmod(0o755)
            if not folder.exists():  # otherwise, another test process was faster
                work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    require(done.returncode == 0, f"mediapipe (pip install mediapipe=={VERSION}: {done.stderr[-200:].strip()})")
