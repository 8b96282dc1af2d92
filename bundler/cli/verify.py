"""tfbundle verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.output import note, print_error, print_json, say
from bundler.cli.parameters import takes
from bundler.cli.remote import Insecure, folder_of
from bundler.cli.trust import Authority, Identity, Provider, PublicKey, trust_of
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.delivery.supply_chain.signature import Trust
    from bundler.validation.bundle import Bundle, Problem
    from bundler.values.addresses import StoreAddress


@dataclass(frozen=True)
class VerifyOptions:
    """The command's parameters."""

    bundle: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A folder that tfbundle build wrote, or an address: s3://bucket/dist, oci://HOST/REPOSITORY:TAG."
        ),
    ]
    parity: Annotated[
        bool | None,
        typer.Option(
            "--parity/--no-parity",
            help="Run the SavedModels on the golden inputs again. Default: yes; for a store no, as it takes a download.",
            show_default=False,
        ),
    ] = None
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

    @property
    def runs(self) -> bool:
        """Whether the SavedModels are run."""
        return self.parity is not False


@takes(VerifyOptions)
def verify(options: VerifyOptions) -> None:
    """Check the hash of every file, the bundle's structure, and the models' answers to the golden inputs.

    Models that do more than compute (read or write files, use the network, call Python) are named, and not run.
    """
    from bundler.values.addresses import OciAddress, is_remote, parse_address

    trust = trust_of(options, needed=options.signature)
    address = parse_address(options.bundle) if is_remote(options.bundle) else None
    if address is not None:
        _refuse_repair(options)
    if isinstance(address, OciAddress):
        from bundler.operations.pull import fetched

        with fetched(address, trust, insecure=options.insecure) as folder:
            _verify(options, folder, trust)
        return
    if address is not None:
        is_copied = bool(options.parity) or trust is not None
        _verify_store(address, is_copied=is_copied, as_json=options.as_json)
        if not is_copied:
            return
    _verify(options, folder_of(options.bundle, "whole"), trust)


def _verify(options: VerifyOptions, folder: Path, trust: Trust | None) -> None:
    from bundler.bundle.recovery import repair
    from bundler.operations.sign import check_signature, stale_signature
    from bundler.validation.bundle import Bundle

    if options.fix:
        for notice in repair(folder):
            note(notice)
    digests = check_signature(folder, trust) if trust else None
    opened = Bundle.open(folder)
    facts = {"signed_files": len(digests)} if digests is not None else {}
    problems = opened.verify(parity=options.runs, allow_unsafe_ops=options.allow_unsafe_ops, digests=digests)
    if not options.as_json and (stale := stale_signature(folder)):
        note(f"note: {stale}")
    _show_problems(problems, as_json=options.as_json, facts=facts)
    if not options.as_json:
        if digests is not None:
            say(f"The signature is genuine: {plural(len(digests), 'file')} as signed.")
        _show_intact(options, opened)


def _show_problems(problems: Sequence[Problem], *, as_json: bool, facts: Mapping[str, Any] | None = None) -> None:
    """Print the problems, with further facts in JSON; end the command if one is serious."""
    serious = [problem for problem in problems if problem.serious]
    if as_json:
        print_json({"passed": not serious, "problems": [asdict(problem) for problem in problems], **(facts or {})})
    for problem in problems if not as_json else ():
        if problem.serious:
            print_error(str(problem), code="TFB5104")
        else:
            note(f"note: {problem}")
    if serious:
        raise typer.Exit(1)


def _show_intact(options: VerifyOptions, opened: Bundle) -> None:
    every = _records(opened)
    records = [each for each in every if not each[1].get("adopted")]
    count = len(records)
    verb = "gives" if count == 1 else "give"
    references = " and ".join(sorted({record["parity"].get("reference", "PyTorch") for _, record in records}))
    answers = f", {plural(count, 'SavedModel')} {verb} {references}'s answers" if options.runs and count else ""
    files = len(opened.manifest.files)
    say(f"{options.bundle} is intact: {plural(files, 'file')} {'is' if files == 1 else 'are'} unchanged{answers}.")
    if len(records) < len(every):
        note(f"note: {plural(len(every) - len(records), 'version')} that tfbundle did not build: not run and not compared.")
    for model, record in records if options.runs else ():
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


def _refuse_repair(options: VerifyOptions) -> None:
    from bundler.errors import UsageError

    if options.fix:
        what = f"--repair settles what was left in a folder, and {options.bundle} is not on this machine."
        raise UsageError(what, fix="repeat the interrupted build or push, which goes on where it stopped", code="TFB9117")


def _verify_store(address: StoreAddress, *, is_copied: bool, as_json: bool) -> None:
    """Check the files of a bundle in a store; with `is_copied`, a local copy is verified after that."""
    from bundler.cli.progress import transfers
    from bundler.operations.stores import verify_store

    with transfers() as progress:
        result = verify_store(address, progress)
    counts = {"by_checksum": result.by_checksum, "by_download": result.by_download}
    serious = any(problem.serious for problem in result.problems)
    if serious or not (is_copied and as_json):  # the check of the copy prints the one JSON object
        _show_problems(result.problems, as_json=as_json, facts=counts)
    if not as_json:
        how = f"{result.by_checksum} by the store's checksums, {result.by_download} by a download"
        say(f"{address} is intact: {plural(result.files, 'file')} unchanged ({how}).")
        if not is_copied:
            note("note: the SavedModels were not run and their operators not looked at, which takes a download: add --parity.")
