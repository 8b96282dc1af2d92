"""tfbundle pull."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import print_json, say, say_next, size
from bundler.cli.parameters import takes
from bundler.cli.progress import transfers
from bundler.cli.push import Insecure
from bundler.cli.trust import Authority, Identity, Provider, PublicKey, trust_of


@dataclass(frozen=True)
class PullCommand:
    """The command's parameters."""

    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Where from: oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@DIGEST.")
    ]
    output: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Folder for the bundle. Default: dist/NAME.")
    ] = None
    key: PublicKey = None
    certificate_chain: Authority = None
    identity: Identity = None
    identity_provider: Provider = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace another bundle in that folder, which is kept beside it as .orig.")
    ] = False
    insecure: Insecure = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(PullCommand)
def pull(options: PullCommand) -> None:
    """Fetch a bundle from a registry. Every file is compared with bundle.json before the folder appears.

    With --key, --certificate-chain or --identity, the signature is checked, too. An interrupted pull goes on when it is repeated.
    """
    from bundler.operations.pull import default_target
    from bundler.operations.pull import pull as pull_bundle
    from bundler.values.addresses import parse_address

    address = parse_address(options.address)
    trust = trust_of(options)
    target = options.output or default_target(address)
    consequence = f"{target} is as it was; the same command goes on with what is missing."
    with cleanly_interrupted(consequence), transfers() as progress:
        pulled = pull_bundle(
            address, target, insecure=options.insecure, replace=options.replace, trust=trust, progress=progress
        )
    amounts = {outcome: pulled.totals.bytes.get(outcome, 0) for outcome in ("pulled", "skipped")}
    if options.as_json:
        kept = str(pulled.kept) if pulled.kept else None
        bundle = {"bundle": str(target), "digest": pulled.digest, "changed": pulled.changed, "kept": kept}
        print_json({**bundle, "bytes": amounts, "signature_checked": trust is not None})
        return
    if trust is not None:
        say("The signature is genuine.")
    if not pulled.changed:
        say(f"{target} has this bundle already ({pulled.digest}).")
        return
    there = f", {size(amounts['skipped'])} from an earlier try" if amounts["skipped"] else ""
    say(f"Pulled {target}: {size(amounts['pulled'])}{there} ({pulled.digest})", style="bold")
    if pulled.kept:
        say(f"  The bundle that was there before is kept as {pulled.kept}.")
    say_next(["tfbundle", "verify", target], ["tfbundle", "serve", target])
