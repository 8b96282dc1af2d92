"""tfbundle push."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import note, print_json, say, say_next, size
from bundler.cli.parameters import takes
from bundler.cli.progress import transfers

if TYPE_CHECKING:
    from bundler.delivery.transfers import Totals
    from bundler.operations.push import Pushed

Insecure = Annotated[bool, typer.Option("--insecure", help="Speak plain HTTP; only with a registry on this machine.")]


@dataclass(frozen=True)
class PushCommand:
    """The command's parameters."""

    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote.")]
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to: oci://HOST/REPOSITORY:TAG.")]
    only: Annotated[
        Literal["models", "bundle"] | None,
        typer.Option(help="Push the image of the models alone, or the artifact of the whole bundle alone."),
    ] = None
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Image below the models; KServe's oci:// needs one with a shell, e.g. docker.io/library/busybox:1.37.",
        ),
    ] = None
    platform: Annotated[str, typer.Option(metavar="OS/ARCH", help="Platform of the image, and of its base.")] = "linux/amd64"
    pin: Annotated[
        bool, typer.Option("--pin", help="Let the bundle's Kubernetes manifests name the pushed image by its digest.")
    ] = False
    insecure: Insecure = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(PushCommand)
def push(options: PushCommand) -> None:
    """Push a bundle to a registry: an image of its models, an artifact of the whole, and a tag for both.

    What the registry has already is not sent again, so an interrupted push goes on when it is repeated.
    """
    from bundler.operations.push import PushOptions
    from bundler.operations.push import push as push_bundle
    from bundler.values.addresses import parse_address

    address = parse_address(options.address)
    how = PushOptions(options.only, options.base, options.platform, options.pin, options.insecure)
    consequence = f"{address} is as it was; the same command goes on with what is missing."
    with cleanly_interrupted(consequence), transfers() as progress:
        pushed = push_bundle(options.bundle, address, how, progress)
    for notice in pushed.notices:
        note(notice)
    if options.as_json:
        print_json(_to_json(pushed))
    else:
        _show(pushed, options)


def _to_json(pushed: Pushed) -> dict[str, object]:
    parts = {"image": pushed.image, "artifact": pushed.artifact}
    return {
        "address": str(pushed.address),
        "digest": pushed.address.digest,
        **{name: None if each is None else {"address": str(each), "digest": each.digest} for name, each in parts.items()},
        "bytes": {outcome: pushed.totals.bytes.get(outcome, 0) for outcome in ("pushed", "mounted", "skipped")},
        "notices": list(pushed.notices),
        "attached": list(pushed.attached),
    }


def _show(pushed: Pushed, options: PushCommand) -> None:
    say(f"Pushed {pushed.address}", style="bold")
    if pushed.image is not None and pushed.image != pushed.address:
        say(f"  image of the models: {pushed.image.image}")
    if pushed.artifact is not None and pushed.artifact != pushed.address:
        say(f"  artifact:            {pushed.artifact.image}")
    if pushed.attached:
        say(f"  attached:            {', '.join(pushed.attached)}")
    say(f"  {_amounts(pushed.totals)}")
    if pushed.artifact is not None:
        insecure = ["--insecure"] if options.insecure else []
        say_next(["tfbundle", "pull", pushed.address, "-o", "DIR", *insecure])


def _amounts(totals: Totals) -> str:
    words = {"pushed": "pushed", "mounted": "taken over from another repository", "skipped": "there already"}
    shown = {outcome: totals.bytes.get(outcome, 0) for outcome in ("pushed", "mounted", "skipped")}
    texts = [f"{size(count)} {words[outcome]}" for outcome, count in shown.items() if count or outcome == "pushed"]
    return ", ".join(texts)
