"""tfbundle launch"""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import note, print_error, say

if TYPE_CHECKING:
    from serving.launch import Deployment, Runner
    from serving.smoke.run import GoldenFile


class RunnerName(str, Enum):
    embedded = "embedded"
    docker = "docker"
    binary = "binary"


def launch(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote.")],
    runner: Annotated[
        RunnerName, typer.Option(help="tfbundle's own server, TensorFlow Serving in Docker, or its binary here.")
    ] = RunnerName.embedded,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="gRPC port; default: the bundle's.")] = None,
    rest_port: Annotated[int | None, typer.Option(min=1, max=65535, help="REST port; default: the bundle's.")] = None,
    host: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "127.0.0.1",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until every version is AVAILABLE.")] = 120.0,
    check: Annotated[bool, typer.Option("--check", help="Stop after the smoke test.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke/--no-smoke", help="Run the smoke test when it is ready.")] = True,
    image: Annotated[str | None, typer.Option(help="docker: another image than the bundle's.")] = None,
    user: Annotated[str | None, typer.Option(metavar="UID:GID", help="docker: who the server runs as; default: you.")] = None,
    memory: Annotated[str, typer.Option(help="docker: most memory, e.g. 2g.")] = "",
    cpus: Annotated[str, typer.Option(help="docker: most cores, e.g. 1.5.")] = "",
    binary: Annotated[str, typer.Option(help="binary: name or path of the server.")] = "tensorflow_model_server",
) -> None:
    """Start a server, wait until it serves the bundle, smoke-test it, stream its log; Ctrl-C stops and cleans up."""
    from bundler.operations.launch import deployment, docker_settings
    from bundler.operations.smoke import served_golden_files
    from bundler.render.parts import render_context
    from bundler.validation.bundle import Bundle
    from serving.launch import BinaryRunner, DockerRunner, EmbeddedRunner

    opened = Bundle.open(bundle)
    context = render_context(opened.name, opened.manifest)
    to = deployment(opened, context, host=host, grpc_port=port, rest_port=rest_port)
    chosen: Runner
    if runner is RunnerName.docker:
        chosen = DockerRunner(to, docker_settings(context, image=image, user=user, memory=memory, cpus=cpus))
    elif runner is RunnerName.binary:
        chosen = BinaryRunner(to, binary)
    else:
        chosen = EmbeddedRunner(to, (sys.executable, "-m", "bundler", "serve"))
    say(shlex.join(chosen.command))
    with cleanly_interrupted("the server was stopped and cleaned up."):
        _run(chosen, to, served_golden_files(opened, context) if smoke else None, timeout=timeout, check=check)


def _run(chosen: Runner, to: Deployment, golden_files: list[GoldenFile] | None, *, timeout: float, check: bool) -> None:
    from serving.launch import launched, wait_for_end

    serving = False
    try:
        with launched(chosen, to, timeout=timeout, log=_log):
            if golden_files is not None:
                _smoke(to, golden_files)
            _tell(to, chosen)
            if check:
                return
            serving = True
            raise wait_for_end(chosen)
    except KeyboardInterrupt:
        if not serving:
            _tell_leftovers(chosen)
            raise
        say("Stopped.")
    except Exception:
        _tell_leftovers(chosen)
        raise


def _smoke(to: Deployment, golden_files: list[GoldenFile]) -> None:
    from serving.smoke.run import Check, run

    def show(check: Check) -> None:
        if check.outcome == "failed":
            print_error(str(check))

    report = run(to.grpc_target, golden_files, rest=to.rest_target, progress=show)
    say(report.verdict(), style="bold green" if report.passed else "bold red")
    if not report.passed:
        raise typer.Exit(1)


def _tell(to: Deployment, chosen: Runner) -> None:
    for model, versions in to.versions.items():
        say(f"{model}: version {', '.join(map(str, versions))} AVAILABLE")
        say(f"  gRPC  {to.grpc_target}")
        say(f"  REST  http://{to.rest_target}/v1/models/{model}:predict")
    say(f"Ctrl-C stops it. Should this command be killed: {chosen.by_hand}")


def _tell_leftovers(chosen: Runner) -> None:
    if chosen.by_hand:
        note(f"Cleaned up. Should anything be left: {chosen.by_hand}")


def _log(line: str) -> None:
    sys.stderr.write(f"server | {line}\n")
    sys.stderr.flush()
