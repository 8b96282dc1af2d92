"""The image of TensorFlow Serving in Docker, with the bundle's own models and config files mounted."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.runner import GRACE_SECONDS, Log, Process, ended_error

_ANSWER_SECONDS = 30.0
"""How long the daemon may take to answer a question."""

_DOCKER_FAILED, _KILLED = 125, 137
"""Exit codes of `docker run`: Docker itself failed; the container was killed (docs.docker.com, run reference)."""


@dataclass(frozen=True)
class DockerSettings:
    """How the container runs.

    Attributes:
        image: reference of the image, with a digest where the bundle pins one.
        models_dir, config_dir: where the bundle's models/ and serving/ stand in the container, read-only.
        user: `uid:gid` of the server; it has to be able to read the bundle.
        memory: most that it may use, as `docker run --memory` takes it; empty: no limit.
        cpus: most cores, as `docker run --cpus` takes it; empty: no limit.
        docker: name or path of the client.
    """

    image: str
    models_dir: str
    config_dir: str
    user: str
    memory: str = ""
    cpus: str = ""
    docker: str = "docker"


class DockerRunner:
    """`docker run` in the foreground, so that its output is the server's and its exit code the container's."""

    def __init__(self, deployment: Deployment, settings: DockerSettings) -> None:
        self._deployment = deployment
        self._settings = settings
        self._process: Process | None = None
        self._begun = False
        self.name = f"tfbundle-{deployment.name}-{deployment.grpc_port}"

    @property
    def command(self) -> Sequence[str]:
        to, how = self._deployment, self._settings
        # --init: as process 1 the server would ignore SIGTERM (tensorflow/serving#1853).
        command = [how.docker, "run", "--rm", "--init", "--name", self.name, "--user", how.user]
        command += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        command += ["--memory", how.memory] if how.memory else []
        command += ["--cpus", how.cpus] if how.cpus else []
        for port in (to.grpc_port, to.rest_port):
            command += ["--publish", f"{_bracketed(to.host)}:{port}:{port}"]
        for part, target in (("models", how.models_dir), ("serving", how.config_dir)):
            command += ["--mount", f"type=bind,source={to.folder / part},target={target},readonly"]
        return (*command, "--entrypoint", "tensorflow_model_server", how.image, *to.flags(how.config_dir))

    @property
    def by_hand(self) -> str:
        return self._removal if self._begun else ""

    @property
    def _removal(self) -> str:
        return f"{self._settings.docker} rm -f {self.name}"

    @property
    def hosts(self) -> str:
        return self._deployment.host

    def prepare(self, log: Log) -> None:
        if "," in str(self._deployment.folder):
            raise LaunchError(
                f"Docker cannot mount {self._deployment.folder}: the path has a comma.", fix="move the bundle"
            )
        self._check_daemon()
        if self._ask("container", "inspect", self.name).returncode == 0:
            raise LaunchError(
                f"There is a container {self.name} already: another launch has this port, or left it behind.",
                fix=f"choose another --port, or remove it: {self._removal}",
            )
        if self._ask("image", "inspect", self._settings.image).returncode != 0:
            self._pull(log)

    def _check_daemon(self) -> None:
        answer = self._ask("version", "--format", "{{.Server.Version}}")
        if answer.returncode != 0:
            raise LaunchError(
                f"Docker's daemon does not answer: {_last_line(answer.stderr or answer.stdout)}",
                fix="start it (systemctl start docker, or Docker Desktop), see whether you may use it "
                "(group docker), or use --runner embedded",
            )

    def _pull(self, log: Log) -> None:
        image = self._settings.image
        pull = Process((self._settings.docker, "pull", image), log)
        try:
            while not pull.wait(1.0):
                pass
        finally:
            pull.end(2.0)
        if pull.poll() != 0:
            raise LaunchError(
                f"The image {image} cannot be pulled: {_last_line(' '.join(pull.tail))}",
                fix="is the registry reachable? `docker:` in bundle.yaml names another image; --image does so once",
            )

    def start(self, log: Log) -> None:
        self._begun = True
        self._process = Process(self.command, log)

    def ended(self) -> LaunchError | None:
        code = self._process.poll() if self._process else None
        if code is None or self._process is None:
            return None
        fix = "the end of its log says why"
        if code == _DOCKER_FAILED:
            fix = "Docker itself could not run it: the message above is its own"
        elif code == _KILLED:
            fix = f"killed, most likely for its memory: raise --memory (now {self._settings.memory or 'without limit'})"
        return ended_error(f"The container {self.name}", code, self.command, self._process.tail, fix)

    def stop(self) -> None:
        """`docker stop`, then `docker rm -f`, which also ends what `docker stop` did not."""
        if not self._begun:
            return
        try:
            if self._process and self._process.poll() is None:
                # To the container: signals to the client do not reach it when the client is killed.
                grace = int(GRACE_SECONDS)
                self._ask("stop", "--time", str(grace), self.name, seconds=grace + _ANSWER_SECONDS)
        finally:
            self._remove()

    def _remove(self) -> None:
        try:
            answer = self._ask("rm", "-f", self.name)
        finally:
            if self._process:
                self._process.end(5.0)
        if answer.returncode != 0 and "no such container" not in answer.stderr.lower():
            raise LaunchError(
                f"The container {self.name} could not be removed: {_last_line(answer.stderr)}", fix=self._removal
            )

    def _ask(self, *arguments: str, seconds: float = _ANSWER_SECONDS) -> subprocess.CompletedProcess[str]:
        command = [self._settings.docker, *arguments]
        try:
            # A session of its own: Ctrl-C must not end the client that is removing the container.
            return subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, start_new_session=True
            )
        except FileNotFoundError as exc:
            raise LaunchError(
                f"There is no {self._settings.docker} on this machine.",
                fix="install Docker, or use --runner embedded, which needs nothing but tfbundle",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise LaunchError(
                f"Docker did not answer within {seconds:g} s.", where=shlex.join(command), fix="is its daemon all right?"
            ) from exc


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it gave no reason."
