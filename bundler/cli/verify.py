"""tfbundle verify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.output import note, print_error, print_json, say
from bundler.cli.parameters import takes
from bundler.cli.push import Insecure
from bundler.cli.trust import Authority, Identity, Provider, PublicKey, trust_of
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.delivery.supply_chain.signature import Trust
    from bundler.validation.bundle import Bundle, Problem


@dataclass(frozen=True)
class VerifyOptions:
    """The command's parameters."""

    bundle: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote, or oci://HOST/REPOSITORY:TAG.")
    ]
    parity: Annotated[
        bool, typer.Option("--parity/--no-parity", help="Run the SavedModels on the golden inputs again.")
    ] = True
    allow_unsafe_ops: Annotated[
        bool, typer.Option("--allow-unsafe-ops", help="Run models that reach out to files, the network or Python, too.")
    ] = False
    fix: Annotated[
        bool, typer.Option("--repair", help="First finish or undo a publication that a killed command left half done.")
    ] = False
    insecure: Insecure = False
    signature: Annotated[
        bool, typer.Option("--signature", help="Check first that the files are those that a signer you trust has signed.")
    ] = False
    key: PublicKey = None
    certificate_chain: Authority = None
    identity: Identity = None
    identity_provider: Provider = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(VerifyOptions)
def verify(options: VerifyOptions) -> None:
    """Check the hash of every file, the bundle's structure, and the models' answers to the golden inputs.

    Models that do more than compute (read or write files, use the network, call Python) are named, and not run.
    """
    from bundler.values.addresses import is_remote, parse_address

    trust = trust_of(options, needed=options.signature)
    if is_remote(options.bundle):
        from bundler.operations.pull import fetched

        with fetched(parse_address(options.bundle), trust, insecure=options.insecure) as folder:
            _verify(options, folder, trust)
    else:
        _verify(options, Path(options.bundle), trust)


def _verify(options: VerifyOptions, folder: Path, trust: Trust | None) -> None:
    from bundler.bundle.recovery import repair
    from bundler.operations.sign import check_signature, stale_signature
    from bundler.validation.bundle import Bundle

    if options.fix:
        for notice in repair(folder):
            note(notice)
    digests = check_signature(folder, trust) if trust else None
    opened = Bundle.open(folder)
    problems = opened.verify(parity=options.parity, allow_unsafe_ops=options.allow_unsafe_ops, digests=digests)
    serious = [problem for problem in problems if problem.serious]
    if options.as_json:
        signed = {"signed_files": len(digests)} if digests is not None else {}
        print_json({"passed": not serious, "problems": [asdict(problem) for problem in problems], **signed})
    else:
        _show_problems(problems)
        if stale := stale_signature(folder):
            note(f"note: {stale}")
    if serious:
        raise typer.Exit(1)
    if not options.as_json:
        if digests is not None:
            say(f"The signature is genuine: {plural(len(digests), 'file')} as signed.")
        _show_success(options, opened)


def _show_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        if problem.serious:
            print_error(str(problem), code="TFB5104")
        else:
            note(f"note: {problem}")


def _show_success(options: VerifyOptions, opened: Bundle) -> None:
    every = _records(opened)
    records = [each for each in every if not each[1].get("adopted")]
    count = len(records)
    verb = "gives" if count == 1 else "give"
    references = " and ".join(sorted({record["parity"].get("reference", "PyTorch") for _, record in records}))
    answers = f", {plural(count, 'SavedModel')} {verb} {references}'s answers" if options.parity and count else ""
    files = len(opened.manifest.files)
    say(f"{options.bundle} is intact: {plural(files, 'file')} {'is' if files == 1 else 'are'} unchanged{answers}.")
    if len(records) < len(every):
        note(f"note: {plural(len(every) - len(records), 'version')} that tfbundle did not build: not run and not compared.")
    for model, record in records if options.parity else ():
        for line in _notes(record):
            note(f"note: {model}, {line}")


def _notes(record: dict[str, Any]) -> Iterator[str]:
    """Yield what limits the comparison of a version's answers."""
    yield from record["parity"].get("runtime_notes", ())
    if record.get("precision", {}).get("passed"):
        yield "which computes in bfloat16: compared within the tolerance of its golden data"
    if (form := record.get("fast_path", {}).get("form", "float32")) != "float32":
        yield f"whose model.tflite is {form}: compared within a tolerance of its own"


def _records(bundle: Bundle) -> list[tuple[str, dict[str, Any]]]:
    """Return (model and version, record) of every version of a bundle."""
    return [
        (f"{model} version {number}", bundle.record(model, number))
        for model in bundle.models()
        for number in bundle.versions(model)
    ]
