"""tfbundle export-mobile"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import print_json, say, size, table


def export_mobile(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote.")],
    output: Annotated[Path, typer.Option("--output-dir", "-o", help="The new folder to write.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Which model; default: all that have TFLite files. Once for each.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; default: the latest.")] = None,
    variants: Annotated[
        str, typer.Option("--variant", help="Which variants, with commas; default: all.")
    ] = "",
    labels: Annotated[
        str | None, typer.Option(metavar="[OUTPUT=]FILE", help="Names of the classes, one a line.")
    ] = None,
    mean: Annotated[
        str, typer.Option(help="Of an image's pixels, 0 to 255: one number or one a channel, with commas.")
    ] = "",
    std: Annotated[str, typer.Option(help="What the pixels are divided by after that.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write .tflite files with metadata, checksums, figures, and the call in Python, Kotlin, Swift and C++."""
    import json

    from bundler.mobile import ExportOptions
    from bundler.mobile import export_mobile as export
    from bundler.spec.parsing import parse_names, parse_numbers
    from bundler.validation.bundle import Bundle

    options = ExportOptions(
        tuple(model or ()), version, parse_names(variants), labels, parse_numbers(mean), parse_numbers(std)
    )
    with cleanly_interrupted(f"{output} was not written."):
        done = export(Bundle.open(bundle), output, options)
    if as_json:
        print_json(json.loads((output / "export.json").read_text("utf-8")))
        return
    rows = [
        (file, size((output / file).stat().st_size), variant.accuracy)
        for one in done
        for variant, file in zip(one.model.variants, one.files.values(), strict=True)
    ]
    table(("file", "size", "accuracy"), rows)
    say(f"Written: {output}")
    say(f"Next:    {output / 'README.md'}   |   tfbundle inspect {output / rows[0][0]}")
