"""tfbundle export-mobile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import opener, print_json, say, say_next, size, table
from bundler.cli.parameters import takes
from bundler.cli.remote import BUNDLE, folder_of


@dataclass(frozen=True)
class ExportMobileOptions:
    """The command's parameters."""

    bundle: Annotated[str, typer.Argument(metavar="DIR", help=BUNDLE)]
    output: Annotated[Path, typer.Option("--output-dir", "-o", help="The new folder to write.")]
    model: Annotated[
        list[str] | None, typer.Option(help="Model to export. Default: all that have TFLite files. Can be repeated.")
    ] = None
    version: Annotated[int | None, typer.Option(min=1, help="Version to export. Default: the latest.")] = None
    variants: Annotated[
        str, typer.Option("--variant", help="Variants to export, with commas. Default: all.")
    ] = ""
    labels: Annotated[
        str | None, typer.Option(metavar="[OUTPUT=]FILE", help="Class names of a classifier, one per line.")
    ] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A tokenizer.json or vocab.txt, or a folder with one: puts the vocabulary of an uncased BERT into the files, "
            "for MediaPipe's text tasks. For a model that takes word ids: a text file with a word and its id per line.",
        ),
    ] = None
    mean: Annotated[
        str, typer.Option(help="Mean of an image's pixels, 0 to 255: one number, or one per channel with commas.")
    ] = ""
    std: Annotated[
        str, typer.Option(help="Standard deviation of the pixels: one number, or one per channel with commas.")
    ] = ""
    allow_unsafe_ops: Annotated[
        bool, typer.Option("--allow-unsafe-ops", help="Export files that reach out to files, the network or plugins, too.")
    ] = False
    target_runtime: Annotated[
        str | None,
        typer.Option(
            metavar="RUNTIME==VERSION",
            help="Oldest runtime that has to run the files, e.g. litert==1.4, litert==2.1 or tflite-runtime==2.14.",
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False


@takes(ExportMobileOptions)
def export_mobile(options: ExportMobileOptions) -> None:
    """Write .tflite files with metadata, checksums, figures, and code in Python, C++, JavaScript, Kotlin and Swift.

    Files of image models (tflite.images) take RGB pixels of 0 to 255, channels last, as MediaPipe's image tasks do. Build with
    images.fold: false for normalized values, and with layout: keep for the model's order of axes.
    """
    import json

    from bundler.mobile import ExportOptions
    from bundler.mobile import export_mobile as export
    from bundler.spec.parsing import parse_names, parse_numbers
    from bundler.validation.bundle import Bundle

    mean, std = parse_numbers(options.mean), parse_numbers(options.std)
    settings = ExportOptions(
        tuple(options.model or ()),
        options.version,
        parse_names(options.variants),
        options.labels,
        mean,
        std,
        options.allow_unsafe_ops,
        options.target_runtime,
        options.tokenizer,
    )
    with cleanly_interrupted(f"{options.output} was not written."):
        exports = export(Bundle.open(folder_of(options.bundle, "mobile")), options.output, settings)
    if options.as_json:
        print_json(json.loads((options.output / "export.json").read_text("utf-8")))
        return
    rows = [
        (file, size((options.output / file).stat().st_size), variant.accuracy)
        for exported in exports
        for variant, file in zip(exported.model.variants, exported.files.values(), strict=True)
    ]
    table(("file", "size", "accuracy"), rows)
    say(f"Written: {options.output}")
    say_next((opener(), options.output / "README.md"), ("tfbundle", "inspect", options.output / rows[0][0]), column=8)
