"""The typer application: its commands, in the order in which a user needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import (
    bench,
    build,
    build_job,
    demo,
    doctor,
    explain,
    export_mobile,
    init,
    inspect,
    launch,
    merge,
    ops,
    promote,
    pull,
    push,
    render,
    serve,
    setup,
    shadow,
    sign,
    smoke,
    verify,
)
from bundler.cli.boundary import Boundary
from bundler.cli.help import HelpCommand
from bundler.cli.output import quiet_libraries, say

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn PyTorch models into TensorFlow Serving SavedModels and TFLite files, verified and ready to deploy.",
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        say(f"tfbundle {version('tfbundle')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the log output of libraries.")
    ] = False,
) -> None:
    """Handle the options that come before the command."""
    quiet_libraries()


app.command("init", cls=HelpCommand)(init.init)
app.command("build", cls=build.BuildCommand)(build.build)
app.command("verify", cls=HelpCommand)(verify.verify)
app.command("inspect", cls=HelpCommand)(inspect.inspect)
app.command("ops", cls=HelpCommand)(ops.ops)
app.command("serve", cls=HelpCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)
for _name, _command in (
    ("merge", merge.merge),
    ("launch", launch.launch),
    ("smoke", smoke.smoke),
    ("bench", bench.bench),
    ("shadow", shadow.shadow),
    ("promote", promote.promote),
    ("render", render.render),
    ("build-job", build_job.build_job),
    ("sign", sign.sign),
    ("push", push.push),
    ("pull", pull.pull),
    ("export-mobile", export_mobile.export_mobile),
    ("doctor", doctor.doctor),
    ("explain", explain.explain),
    ("setup", setup.setup),
    ("demo", demo.demo),
):
    app.command(_name, cls=HelpCommand)(_command)
