"""tfbundle launch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import echo, note, print_error, say
from bundler.cli.parameters import takes
from bundler.cli.remote import BUNDLE, folder_of
from serving.texts import shell_command

if TYPE_CHECKING:
    from bundler.render import RenderContext
    from serving.launch import Deployment, Runner
    from serving.smoke.run import GoldenFile


class RunnerName(str, Enum):
    """The runners that can start a server."""

    embedded = "embedded"
    docker = "docker"
    binary = "binary"


@dataclass(frozen=True)
class LaunchOptions:
    """The command's parameters."""

    bundle: Annotated[str, typer.Argument(metavar="DIR", help=BUNDLE)]
    runner: Annotated[
        RunnerName,
        typer.Option(help="tfbundle's embedded server, TensorFlow Serving in Docker, or a TensorFlow Serving binary."),
    ] = RunnerName.embedded
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="gRPC port. Default: the bundle's.")] = None
    rest_port: Annotated[int | None, typer.Option(min=1, max=65535, help="REST port. Default: the bundle's.")] = None
    host: Annotated[str, typer.Option(help="Local address to listen on.")] = "127.0.0.1"
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait until every version is AVAILABLE.")
    ] = 120.0
    check: Annotated[bool, typer.Option("--check", help="Stop after the smoke test.")] = False
    smoke: Annotated[bool, typer.Option("--smoke/--no-smoke", help="Run the smoke test when the server is ready.")] = True
    image: Annotated[str | None, typer.Option(help="docker: image to run. Default: the bundle's.")] = None
    user: Annotated[
        str | None, typer.Option(metavar="UID:GID", help="docker: user of the server's process. Default: you.")
    ] = None
    memory: Annotated[str, typer.Option(help="docker: memory limit, e.g. 2g.")] = ""
    cpus: Annotated[str, typer.Option(help="docker: limit of CPU cores, e.g. 1.5.")] = ""
    allow_unsafe_ops: Annotated[
        bool,
        typer.Option("--allow-unsafe-ops", help="Serve models that reach out to files, the network or Python, too."),
    ] = False
    binary: Annotated[str, typer.Option(help="binary: name or path of the server.")] = "tensorflow_model_server"


@takes(LaunchOptions)
def launch(options: LaunchOptions) -> None:
    """Start a server, wait until it serves the bundle, run the smoke test and show the log. Ctrl-C stops it and cleans up."""
    from bundler.bundle.recovery import wait_until_published
    from bundler.operations.launch import deployment
    from bundler.operations.smoke import served_golden_files
    from bundler.render.parts import render_context
    from bundler.validation.bundle import Bundle
    from bundler.validation.unsafe import refuse_unsafe

    folder = folder_of(options.bundle, "served")
    wait_until_published(folder)
    bundle = Bundle.open(folder)
    context = render_context(bundle.name, bundle.manifest)
    golden_files = (served_golden_files(bundle, context) or None) if options.smoke else None
    target = deployment(bundle, context, host=options.host, grpc_port=options.port, rest_port=options.rest_port)
    if not options.allow_unsafe_ops:
        refuse_unsafe(bundle, target.versions)
    runner = _runner(options, context, target)
    say(shell_command(*runner.command))
    with cleanly_interrupted("the server was stopped and cleaned up."):
        _run(runner, target, golden_files, options)


def _runner(options: LaunchOptions, context: RenderContext, target: Deployment) -> Runner:
    from bundler.operations.launch import docker_settings
    from bundler.process.extras import require
    from serving.launch import BinaryRunner, DockerRunner, EmbeddedRunner

    if options.runner is RunnerName.docker:
        settings = docker_settings(
            context, image=options.image, user=options.user, memory=options.memory, cpus=options.cpus
        )
        return DockerRunner(target, settings)
    if options.runner is RunnerName.binary:
        return BinaryRunner(target, options.binary)
    require("serve", "--runner embedded", otherwise="use --runner docker or --runner binary")
    allowed = ("--allow_unsafe_ops=true",) if options.allow_unsafe_ops else ()
    return EmbeddedRunner(target, (sys.executable, "-m", "bundler", "serve", *allowed))


def _run(runner: Runner, target: Deployment, golden_files: list[GoldenFile] | None, options: LaunchOptions) -> None:
    from serving.launch import launched, wait_for_end

    is_serving = False
    try:
        with launched(runner, target, timeout=options.timeout, log=_log):
            if golden_files is not None:
                _smoke(target, golden_files)
            is_serving = not options.check  # before the endpoints are shown: whoever reads them may stop the server at once
            _show_endpoints(target, runner)
            if options.check:
                return
            raise wait_for_end(runner)
    except KeyboardInterrupt:
        if not is_serving:
            _note_leftovers(runner)
            raise
        say("Stopped.")
    except Exception:
        _note_leftovers(runner)
        raise


def _smoke(target: Deployment, golden_files: list[GoldenFile]) -> None:
    from serving.smoke.run import Check, run

    def show(check: Check) -> None:
        if check.outcome == "failed":
            print_error(str(check), code="TFB7203")

    report = run(target.grpc_target, golden_files, rest=target.rest_target, progress=show)
    say(report.verdict(), style="bold green" if report.passed else "bold red")
    if not report.passed:
        raise typer.Exit(1)


def _show_endpoints(target: Deployment, runner: Runner) -> None:
    for model, versions in target.versions.items():
        say(f"{model}: version {', '.join(map(str, versions))} AVAILABLE")
        say(f"  gRPC  {target.grpc_target}")
        say(f"  REST  http://{target.rest_target}/v1/models/{model}:predict")
    say(f"Ctrl-C stops it. If this command is killed, clean up with: {runner.by_hand}")


def _note_leftovers(runner: Runner) -> None:
    if runner.by_hand:
        note(f"Cleaned up. If anything is left, remove it with: {runner.by_hand}")


def _log(line: str) -> None:
    echo(f"server | {line}")
