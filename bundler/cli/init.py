"""tfbundle init"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.output import print_json, say

_SOURCES = "file.py:callable, .pt2, .onnx, .pt, .safetensors, timm:NAME or hf:NAME"


def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("bundle.yaml"),
    source: Annotated[str | None, typer.Option(help=f"The model: {_SOURCES}.")] = None,
    name: Annotated[str | None, typer.Option(help="Name it is served under.")] = None,
    input: Annotated[
        list[str] | None, typer.Option(help="An input, 'x=float32[batch,3,224,224]'. Once for each.")
    ] = None,
    tflite: Annotated[str | None, typer.Option(help="Variants: float32,float16,dynamic,int8,int8-io,int16x8,mix.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Samples for the int variants.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of bundle.yaml only.")
    ] = False,
) -> None:
    """Write a commented bundle.yaml, and the JSON Schema that editors check it with."""
    from bundler.spec.bundle_spec import BundleSpec
    from bundler.spec.parsing import parse_names
    from bundler.spec.request import default_name
    from bundler.spec.template import Answers, write_spec

    if schema:
        print_json(BundleSpec.json_schema())
        return
    asks = not yes and sys.stdin.isatty()
    model = source or (
        typer.prompt(f"Model ({_SOURCES})", default=Answers.source) if asks else Answers.source
    )
    suggested = name or default_name(model)
    chosen = typer.prompt("Name it is served under", default=suggested) if asks and not name else suggested
    wanted = tflite
    if wanted is None:
        wanted = typer.prompt("TFLite variants, with commas", default="", show_default=False) if asks else ""
    samples = calibration
    if samples is None and asks and ("int" in wanted or "mix" in wanted):
        samples = typer.prompt("Calibration samples for the int variants (.npz, a folder, or file.py:name)")
    answers = Answers(chosen, model, tuple(input or ()), parse_names(wanted), samples)
    for path in write_spec(output, answers, force=force):
        say(f"wrote {path}")
    say(f"Next: edit it, then tfbundle build {output}")
