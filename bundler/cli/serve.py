"""tfbundle serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import print_failure
from bundler.cli.remote import BUNDLE, folder_of

if TYPE_CHECKING:
    from serving.server import ServerOptions


def serve(
    ctx: typer.Context,
    bundle: Annotated[
        str | None,
        typer.Argument(metavar="[DIR] [--FLAG=VALUE]...", help=BUNDLE, show_default=False),
    ] = None,
) -> None:
    """Serve a bundle with the embedded server: gRPC on 8500, REST on 8501 (or the bundle's own ports).

    The server takes the flags of tensorflow_model_server, with a bundle or instead of one, so that a command line works
    unchanged for both: --port --rest_api_port --model_config_file --model_name --model_base_path
    --monitoring_config_file --file_system_poll_wait_seconds … On Ctrl-C or SIGTERM it answers the requests that are in
    progress, then stops; a second one stops it at once.

    Flags of its own: --log_requests=DIR with --log_requests_sample_rate=0.01 writes requests and answers to a file that
    `tfbundle shadow`, `tfbundle smoke --replay` and `tfbundle bench --replay` send again. --log_format=json logs one JSON line
    per request. --enable_tracing records OpenTelemetry spans of requests and sends them where the OTEL_* variables say.
    --max_request_bytes --max_decoded_bytes --max_tensor_elements --max_nesting --max_large_bodies --write_timeout_in_ms limit
    what a request may cost, and --allowed_hosts the names under which the server answers.
    --reload_base_path=FOLDER is where `tfbundle promote --server` and other clients may load models from: by default the
    bundle's models, and nowhere if --host is not this machine.
    --open_inference_protocol answers KServe's v2 protocol too, over REST below /v2 and over gRPC.
    --allow_unsafe_ops loads models that reach out to files, the network or Python, which are refused otherwise.
    """
    from serving.protocol.status import StatusError
    from serving.server import serve as run
    from serving.server.config.usage import asks_version, versions
    from serving.server.observability.log_lines import configure_logging, log_format

    flags = [argument for argument in (bundle, *ctx.args) if argument and argument.startswith("--")]
    folders = [argument for argument in (bundle, *ctx.args) if argument and not argument.startswith("--")]
    if not folders and not flags:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)
    if asks_version(flags):
        typer.echo(versions())
        raise typer.Exit
    configure_logging(log_format(flags))
    try:
        options = _options(folders, flags)
        options.check()
        run(options)
    except StatusError as exc:
        where = getattr(exc, "detail", None)
        raise typer.Exit(print_failure(f"The server did not start: {exc}", 1, where=where, code="TFB6205")) from exc


def _options(folders: list[str], flags: list[str]) -> ServerOptions:
    from dataclasses import replace

    from bundler.bundle.recovery import wait_until_published
    from bundler.errors import UsageError
    from bundler.validation.bundle import Bundle
    from serving.server import parse_flags
    from serving.server.config.files import bundle_settings

    if not folders:
        return parse_flags(flags)
    if len(folders) > 1:
        raise UsageError(
            f"Only one bundle can be served, not {', '.join(folders)}.",
            fix="write flags as --name=value",
            code="TFB1001",
        )
    folder = folder_of(folders[0], "served")
    wait_until_published(folder)
    bundle = Bundle.open(folder)
    ports = bundle.manifest.spec["serving"]
    defaults = [f"--port={ports['grpc_port']}", f"--rest_api_port={ports['rest_port']}"]
    # The files of a bundle are complete when they appear, so a load that fails is not retried. Labels are read before the
    # versions that they point to are loaded.
    settings = bundle_settings(bundle.path)
    if settings["prefer_tflite"]:
        defaults.append("--prefer_tflite_model=true")
    if settings["mixed_precision"]:
        defaults.append(f"--mixed_precision={settings['mixed_precision']}")
    return replace(
        parse_flags([*defaults, *flags]),
        bundle=str(bundle.path),
        max_load_retries=0,
        allow_labels_for_unavailable=True,
        health=True,
    )
