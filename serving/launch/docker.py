"""Run the image of TensorFlow Serving in Docker, with the bundle's models and config files mounted."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.runner import GRACE_SECONDS, Log, Process, ended_error
from serving.texts import shell_command

_ANSWER_SECONDS = 30.0
"""How long the daemon may take to answer a command."""

_DOCKER_FAILED, _KILLED = 125, 137
"""Exit codes of `docker run`: Docker itself failed; the container was killed (docs.docker.com, run reference)."""


@dataclass(frozen=True)
class DockerSettings:
    """Settings of the container.

    Attributes:
        image: reference of the image, with a digest if the bundle pins one.
        models_dir: folder in the container where the bundle's models/ is mounted, read-only.
        config_dir: folder in the container where the bundle's serving/ is mounted, read-only.
        user: `uid:gid` of the server, which must be able to read the bundle.
        memory: memory limit in the form of `docker run --memory`; empty for no limit.
        cpus: limit of cores in the form of `docker run --cpus`; empty for no limit.
        docker: name or path of Docker's client.
    """

    image: str
    models_dir: str
    config_dir: str
    user: str
    memory: str = ""
    cpus: str = ""
    docker: str = "docker"


class DockerRunner:
    """Runs `docker run` in the foreground: its output is the server's, its exit code the container's."""

    def __init__(self, deployment: Deployment, settings: DockerSettings) -> None:
        self._deployment = deployment
        self._settings = settings
        self._process: Process | None = None
        self._started = False
        self.name = f"tfbundle-{deployment.name}-{deployment.grpc_port}"

    @property
    def command(self) -> Sequence[str]:
        """See `Runner.command`."""
        deployment, settings = self._deployment, self._settings
        # --init: the server would ignore SIGTERM as process 1 (tensorflow/serving#1853).
        command = [settings.docker, "run", "--rm", "--init", "--name", self.name, "--user", settings.user]
        command += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        command += ["--memory", settings.memory] if settings.memory else []
        command += ["--cpus", settings.cpus] if settings.cpus else []
        for port in (deployment.grpc_port, deployment.rest_port):
            command += ["--publish", f"{_bracketed(deployment.host)}:{port}:{port}"]
        for part, target in (("models", settings.models_dir), ("serving", settings.config_dir)):
            command += ["--mount", f"type=bind,source={deployment.folder / part},target={target},readonly"]
        flags = deployment.flags(settings.config_dir)
        return (*command, "--entrypoint", "tensorflow_model_server", settings.image, *flags)

    @property
    def by_hand(self) -> str:
        """See `Runner.by_hand`."""
        return self._removal if self._started else ""

    @property
    def _removal(self) -> str:
        return shell_command(self._settings.docker, "rm", "-f", self.name)

    @property
    def hosts(self) -> str:
        """See `Runner.hosts`."""
        return self._deployment.host

    def prepare(self, log: Log) -> None:
        """Check that Docker can run the container, and pull the image if it is missing.

        Raises:
            LaunchError: Docker is missing or does not answer, the container's name is taken, or the image cannot be pulled.
        """
        if "," in str(self._deployment.folder):
            raise LaunchError(
                f"Docker cannot mount {self._deployment.folder}: the path has a comma.",
                fix="move the bundle to another path",
                code="TFB6204",
            )
        self._check_daemon()
        if self._ask("container", "inspect", self.name).returncode == 0:
            raise LaunchError(
                f"A container named {self.name} already exists: another launch uses this port, or left it behind.",
                fix=f"choose another --port, or remove it: {self._removal}",
                code="TFB6204",
            )
        if self._ask("image", "inspect", self._settings.image).returncode != 0:
            self._pull(log)

    def _check_daemon(self) -> None:
        answer = self._ask("version", "--format", "{{.Server.Version}}")
        if answer.returncode != 0:
            raise LaunchError(
                f"Docker's daemon does not answer: {_last_line(answer.stderr or answer.stdout)}",
                fix="start it (systemctl start docker, or Docker Desktop), check that you are allowed to use it "
                "(group docker), or use --runner embedded",
                code="TFB6202",
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
                fix="check that the registry is reachable, or choose another image with --image or `docker:` in bundle.yaml",
                code="TFB6203",
            )

    def start(self, log: Log) -> None:
        """See `Runner.start`."""
        self._started = True
        self._process = Process(self.command, log)

    def ended(self) -> LaunchError | None:
        """See `Runner.ended`."""
        code = self._process.poll() if self._process else None
        if code is None or self._process is None:
            return None
        fix = "see the end of its log for the reason"
        if code == _DOCKER_FAILED:
            fix = "see Docker's own message above: it could not run the container"
        elif code == _KILLED:
            limit = self._settings.memory or "unlimited"
            fix = f"raise --memory (now {limit}): the container was killed, probably for using too much memory"
        return ended_error(f"The container {self.name}", code, self.command, self._process.tail, fix)

    def stop(self) -> None:
        """Run `docker stop`, then `docker rm -f`, which also ends a container that `docker stop` did not."""
        if not self._started:
            return
        try:
            if self._process and self._process.poll() is None:
                # A signal to Docker's client would not reach the container if the client is killed.
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
                f"The container {self.name} could not be removed: {_last_line(answer.stderr)}",
                fix=self._removal,
                code="TFB6204",
            )

    def _ask(self, *arguments: str, seconds: float = _ANSWER_SECONDS) -> subprocess.CompletedProcess[str]:
        command = [self._settings.docker, *arguments]
        try:
            # In its own session, because Ctrl-C must not end the client that is removing the container.
            return subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, start_new_session=True
            )
        except FileNotFoundError as exc:
            raise LaunchError(
                f"There is no {self._settings.docker} on this machine.",
                fix="install Docker, or use --runner embedded, which needs only tfbundle",
                code="TFB6202",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise LaunchError(
                f"Docker did not answer within {seconds:g} s.",
                where=shell_command(*command),
                fix="check that its daemon is running",
                code="TFB6202",
            ) from exc


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it gave no reason."
