"""tfbundle init."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import print_json, say
from bundler.cli.parameters import takes
from serving.texts import shell_command

if TYPE_CHECKING:
    from bundler.spec.template import Answers

_SOURCES = "file.py:callable, .pt2, .onnx, .pt, .safetensors, timm:NAME or hf:NAME"


def _complete_variants(incomplete: str) -> list[str]:
    from bundler.cli.build_options import complete_list
    from bundler.spec.options import keywords

    return complete_list(keywords()["tflite"].field.choices, incomplete)


@dataclass(frozen=True)
class InitOptions:
    """The command's parameters."""

    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("bundle.yaml")
    source: Annotated[str | None, typer.Option(help=f"The model: {_SOURCES}.")] = None
    name: Annotated[str | None, typer.Option(help="Name that the model is served under.")] = None
    input: Annotated[
        list[str] | None, typer.Option(help=r"An input, 'x=float32\[batch,3,224,224]'. Can be repeated.")
    ] = None
    tflite: Annotated[
        str | None,
        typer.Option(
            metavar="<variant,...>",
            help="TFLite variants to build, as in tfbundle build.",
            autocompletion=_complete_variants,
        ),
    ] = None
    calibration: Annotated[str | None, typer.Option(help="Calibration samples for the int variants.")] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask no questions and use the defaults.")] = False
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False
    schema: Annotated[
        bool, typer.Option("--schema", help="Only print the JSON Schema of bundle.yaml.")
    ] = False


@takes(InitOptions)
def init(options: InitOptions) -> None:
    """Write a commented bundle.yaml, and the JSON Schema that editors check it with."""
    from bundler.spec.bundle_spec import BundleSpec
    from bundler.spec.template import write_spec

    if options.schema:
        print_json(BundleSpec.json_schema())
        return
    for path in write_spec(options.output, _answers(options), force=options.force):
        say(f"wrote {path}")
    say(f"Next: edit it, then run {shell_command('tfbundle', 'build', options.output)}")


def _answers(options: InitOptions) -> Answers:
    """Return the options' values; on a terminal, ask for those that are missing."""
    from bundler.spec.model_names import default_name
    from bundler.spec.parsing import parse_names
    from bundler.spec.template import Answers

    def ask(question: str, default: str | None = None) -> str:
        return str(typer.prompt(question, default=default, show_default=bool(default)))

    interactive = not options.yes and sys.stdin.isatty()
    source = options.source or (ask(f"Model ({_SOURCES})", Answers.source) if interactive else Answers.source)
    suggested = options.name or default_name(source)
    name = ask("Name that the model is served under", suggested) if interactive and not options.name else suggested
    variants = options.tflite
    if variants is None:
        variants = ask("TFLite variants, with commas", "") if interactive else ""
    calibration = options.calibration
    if calibration is None and interactive and ("int" in variants or "mix" in variants):
        calibration = ask("Calibration samples for the int variants (.npz, a folder, or file.py:name)")
    return Answers(name, source, tuple(options.input or ()), parse_names(variants), calibration)
