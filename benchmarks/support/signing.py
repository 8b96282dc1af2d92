"""How long do the signature of a bundle and its check take, beside hashing all files once?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.support.common import Report, Verdict, interleave, ratio, run, tfbundle
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.delivery.supply_chain.signature import Trust
from bundler.operations.sign import check_signature, sign
from tests.bundler.delivery.supply_chain.signers import key_pair

LIMIT = 1.5
HASH = "hash all files once"


def measure_signing(report: Report, folder: Path, bundle: Path, rounds: int) -> None:
    """Add the rows and verdicts of signing a bundle and checking it.

    The limits are about the work itself: a command begins with the import of sigstore's packages, which takes seconds whatever
    the bundle's size. Its whole time is in a row of its own.

    Args:
        report: the report.
        folder: a folder for keys.
        bundle: the bundle, which is signed.
        rounds: how often each of the three has a turn.
    """
    pair = key_pair(folder)
    key, trust = SigningKey.load(pair.private), Trust(pair.public)
    paths = [bundle / path for path in Manifest.read(bundle / "bundle.json").files]

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def turn() -> float:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began

        return turn

    contenders = {
        HASH: timed(lambda: [FileEntry.of(path) for path in paths]),
        "sign": timed(lambda: sign(bundle, key)),
        "verify the signature": timed(lambda: check_signature(bundle, trust)),
    }
    contenders["sign"]()  # imports the packages
    figures = interleave(contenders, rounds)
    for name, seconds in figures.items():
        factor = f"{ratio(figures, name, HASH):.2f} x hashing" if name != HASH else ""
        report.rows.append([name, f"{statistics.median(seconds):.2f}", "", "", factor])
        if name != HASH:
            report.verdicts.append(Verdict(f"{name}, time", ratio(figures, name, HASH), LIMIT, " x hashing", inclusive=True))
    report.data["signing"] = figures
    cost = run(tfbundle("sign", str(bundle), "--key", str(pair.private)))
    whole = [f"{cost.seconds:.2f}", f"{cost.cpu_seconds:.2f}", f"{cost.peak_mb:.0f}", ""]
    report.rows.append(["tfbundle sign, the whole command", *whole])
