"""How fast does a bundle get into a registry and out of it?

Measured: `tfbundle push` and `tfbundle pull` of a bundle with 1 GB of weights, each a whole process, with a registry
(docker-registry) on this machine; and the push of the same bundle once more.
Peer: `skopeo copy` of the same layers, from and to a folder. The two take turns, each push into an empty registry.
Limits: 1.5 times skopeo's time and 300 MB of memory; the push once more: 2 s and no byte of a blob; the signature and its check:
1.5 times the time to hash all files once.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.support.common import (
    BenchmarkError,
    Cost,
    Report,
    Verdict,
    arguments,
    interleave,
    ratio,
    run,
    status_of,
    tfbundle,
)  # fmt: skip
from benchmarks.support.signing import measure_signing
from bundler.bundle.manifest import FileEntry, Manifest
from tests.bundler.bundle.records import SPEC, record
from tests.registries import RunningRegistry, registry

RATIO_LIMIT = 1.5
MEMORY_LIMIT = 300.0
AGAIN_LIMIT = 2.0
NAME = "models/large/1"
TAG = "models/large:1"


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the bundle")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program has a turn")
    args = parser.parse_args()
    if args.one_row:
        args.megabytes, args.rounds = 4, 1
    for program in ("skopeo", "docker-registry"):
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program} is not installed (apt-get install {program})")
    report = Report(f"A bundle of {args.megabytes} MB and a registry", ["what", "s", "processor s", "peak MB", "x skopeo"])
    with tempfile.TemporaryDirectory(prefix="tfbundle-delivery-") as name:
        folder = Path(name)
        bundle = large_bundle(folder / "large", args.megabytes)
        os.environ["TFBUNDLE_CACHE_DIR"] = str(folder / "cache")
        measure_transfers(report, folder, bundle, args.rounds)
        if not args.one_row:
            measure_again(report, folder, bundle)
        measure_signing(report, folder, bundle, args.rounds)
    return report.finish(args)


def large_bundle(root: Path, megabytes: int) -> Path:
    """Write a bundle of one version, with random weights in files of at most 256 MB."""
    files = {}
    (root / NAME / "variables").mkdir(parents=True)
    for number, start in enumerate(range(0, megabytes, 256)):
        path = root / NAME / "variables" / f"variables.data-{number:05}"
        with path.open("wb") as file:
            for _ in range(start, min(start + 256, megabytes)):
                file.write(os.urandom(1_000_000))
        files[path.relative_to(root).as_posix()] = FileEntry.of(path)
    manifest = Manifest(spec=SPEC, models={"large": {1: record()}}, files=files)
    (root / "bundle.json").write_bytes(manifest.to_bytes())
    return root


def measure_transfers(report: Report, folder: Path, bundle: Path, rounds: int) -> None:
    """Add the rows and verdicts of push and pull."""
    layout = folder / "layout"
    costs: dict[str, list[Cost]] = {}

    def turn(name: str, command: Callable[[RunningRegistry], list[str]], prepare: Callable[[RunningRegistry], object]) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as storage, registry(Path(storage)) as running:
            prepare(running)
            os.sync()
            cost = run(command(running))
        costs.setdefault(name, []).append(cost)
        return cost.seconds

    def push(running: RunningRegistry) -> list[str]:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        return tfbundle("push", str(bundle), running.address(TAG), "--insecure")

    def skopeo_push(running: RunningRegistry) -> list[str]:
        return ["skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{running.host}/{TAG}"]

    def pull(running: RunningRegistry) -> list[str]:
        shutil.rmtree(folder / "pulled", ignore_errors=True)
        return tfbundle("pull", running.address(TAG), "-o", str(folder / "pulled"), "--insecure")

    def skopeo_pull(running: RunningRegistry) -> list[str]:
        shutil.rmtree(folder / "copied", ignore_errors=True)
        return skopeo_copy(running, folder / "copied")

    with tempfile.TemporaryDirectory(dir=folder) as storage, registry(Path(storage)) as running:
        run(push(running))
        run(skopeo_copy(running, layout))
    nothing: Callable[[RunningRegistry], object] = lambda running: None  # noqa: E731
    filled: Callable[[RunningRegistry], object] = lambda running: run(skopeo_push(running))  # noqa: E731
    for what, ours, theirs, prepare in (("push", push, skopeo_push, nothing), ("pull", pull, skopeo_pull, filled)):
        names = (f"tfbundle {what}", f"skopeo copy, as {what}")
        contenders = {
            name: (lambda name=name, command=command, prepare=prepare: turn(name, command, prepare))  # type: ignore[misc]
            for name, command in zip(names, (ours, theirs), strict=True)
        }
        figures = interleave(contenders, rounds)
        add(report, costs, names[0], ratio(figures, *names))
        add(report, costs, names[1])


def skopeo_copy(running: RunningRegistry, layout: Path) -> list[str]:
    return ["skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{running.host}/{TAG}", f"oci:{layout}:1"]


def measure_again(report: Report, folder: Path, bundle: Path) -> None:
    """Add the row and verdicts of pushing an unchanged bundle."""
    with tempfile.TemporaryDirectory(dir=folder) as storage, registry(Path(storage)) as running:
        command = tfbundle("push", str(bundle), running.address(TAG), "--insecure", "--json")
        run(command)
        costs = [run(command) for _ in range(3)]
    add(report, {"tfbundle push, unchanged": costs}, "tfbundle push, unchanged")
    pushed = max(json.loads(cost.output)["bytes"]["pushed"] for cost in costs)
    report.verdicts.append(Verdict("push of an unchanged bundle", _median(costs).seconds, AGAIN_LIMIT, " s"))
    report.verdicts.append(Verdict("bytes of blobs that it sends", pushed, 0, " bytes", inclusive=True))


def add(report: Report, costs: dict[str, list[Cost]], name: str, factor: float | None = None) -> None:
    """Add a row, and the verdicts if it is ours and has a peer."""
    cost, peak = _median(costs[name]), max(cost.peak_mb for cost in costs[name])
    shown = f"{factor:.2f}" if factor is not None else ""
    report.rows.append([name, f"{cost.seconds:.2f}", f"{cost.cpu_seconds:.2f}", f"{peak:.0f}", shown])
    report.data[name] = [{key: getattr(each, key) for key in ("seconds", "cpu_seconds", "peak_mb")} for each in costs[name]]
    if factor is not None:
        report.verdicts.append(Verdict(f"{name}, time", factor, RATIO_LIMIT, " x skopeo copy", inclusive=True))
        report.verdicts.append(Verdict(f"{name}, peak memory", peak, MEMORY_LIMIT, " MB", inclusive=True))


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]


if __name__ == "__main__":
    sys.exit(status_of(main))
