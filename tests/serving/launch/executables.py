"""Executables for the tests: a docker that records its calls, and a tensorflow_model_server that is the embedded server."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.serving.servers import ROOT


@dataclass(frozen=True)
class FakeDocker:
    """An installed fake docker.

    Attributes:
        path: the executable.
        home: its folder, FAKE_DOCKER in its environment.
    """

    path: Path
    home: Path

    def misbehave(self, mode: str) -> None:
        (self.home / "mode").write_text(mode)

    @property
    def calls(self) -> list[list[str]]:
        recorded = self.home / "calls"
        return [json.loads(line) for line in recorded.read_text().splitlines()] if recorded.exists() else []

    @property
    def verbs(self) -> list[str]:
        return [" ".join(call[: 2 if call[0] in ("container", "image") else 1]) for call in self.calls]


def fake_docker(folder: Path) -> FakeDocker:
    """Write `folder/docker`, whose image exists already."""
    home = folder / "docker-home"
    home.mkdir()
    (home / "image").touch()
    script = f'export FAKE_DOCKER="{home}"; cd "{ROOT}"; exec "{sys.executable}" -m tests.serving.launch.fake_docker "$@"'
    return FakeDocker(_executable(folder / "docker", script), home)


def model_server(folder: Path) -> Path:
    """Write `folder/tensorflow_model_server`, which serves with the same flags."""
    script = f'cd "{ROOT}"; exec "{sys.executable}" -m bundler serve "$@"'
    return _executable(folder / "tensorflow_model_server", script)


def _executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
