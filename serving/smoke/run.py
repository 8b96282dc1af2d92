"""Smoke test: is a running server serving these models, and does it answer what PyTorch answered?

It replays golden data over gRPC and REST: waits until the version is available; checks status and metadata
(names, dtypes and dims of every signature); runs every case of every signature and holds every output
against the model's tolerance. What a transport cannot carry is reported as skipped, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from serving.client.client import Client
from serving.client.examples import EXAMPLES, VERBS, classes_as_outputs
from serving.client.model_info import ModelInfo, TensorInfo
from serving.client.rest_transport import NOT_IN_JSON
from serving.errors import GoldenError, NotReadyError, ServingError
from serving.golden.compare import Difference, compare
from serving.golden.data import Golden, GoldenCase
from serving.protocol.tensors import Array, array_dtype_name, bfloat16_to_float32

REST_ROUNDING = 1e-8
"""Relative error that JSON itself may add: the server prints float32 with nine digits."""

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class GoldenFile:
    """Golden data of one version of a model."""

    model: str
    version: int
    path: Path


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        over: `gRPC` or `REST`.
        what: `status`, `metadata`, `metadata <signature>` or `predict <signature> <case>` (over REST with
            the form of its JSON), `classify <signature> <case>` or `regress <signature> <case>`.
        message: why it failed or was skipped; empty for what passed.
        max_rel: largest relative error of a predict's outputs; None where none could be compared.
    """

    over: str
    model: str
    version: int
    what: str
    outcome: Outcome
    message: str = ""
    max_rel: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        line = f"{self.outcome:7} {self.over} {self.model} version {self.version}: {self.what}"
        if self.message:
            return f"{line}: {self.message}"
        return line if self.max_rel is None else f"{line} (max relative error {self.max_rel:.2g})"


@dataclass(frozen=True)
class SmokeReport:
    """Verdict over one server."""

    targets: tuple[str, ...]
    checks: tuple[Check, ...]
    seconds: float

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "skipped")

    @property
    def passed(self) -> bool:
        """Something was checked, and nothing failed."""
        return not self.failures and any(check.outcome == "passed" for check in self.checks)

    def verdict(self) -> str:
        """One line: how many checks, and how they went."""
        good = len(self.checks) - len(self.failures) - len(self.skipped)
        parts = [f"{good} passed", f"{len(self.failures)} failed", f"{len(self.skipped)} skipped"]
        said = ", ".join(part for part in parts if not part.startswith("0 ") or part == parts[0])
        word = "PASSED" if self.passed else "FAILED"
        return f"{word}: {said} against {' and '.join(self.targets)} in {self.seconds:.2f} s"

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "targets": list(self.targets),
            "seconds": round(self.seconds, 3),
            "checks": [
                {key: value for key, value in asdict(check).items() if value not in (None, "")} for check in self.checks
            ],
        }


def golden_files(folder: Path) -> list[GoldenFile]:
    """The golden data in `<folder>/<model>/<version>.npz`, by model and version.

    Raises:
        GoldenError: there is none.
    """
    found = [
        GoldenFile(path.parent.name, int(path.stem), path) for path in folder.glob("*/*.npz") if path.stem.isdecimal()
    ]
    if not found:
        raise GoldenError(f"There is no golden data in {folder}.", fix="give the bundle's folder")
    return sorted(found, key=lambda file: (file.model, file.version))


def run(
    target: str,
    files: Sequence[GoldenFile],
    *,
    rest: str | None = None,
    timeout: float = 60.0,
    progress: Callable[[Check], None] | None = None,
) -> SmokeReport:
    """Test a server against golden data.

    Args:
        target: `host:port` of its gRPC port, or an `http://` URL for REST alone.
        rest: its REST port as `host:port` or URL, to test both.
        timeout: seconds, for all models together to become available; and for any single answer.
        progress: called with each check as it is done.

    Raises:
        TargetError: a target is not one.
        GoldenError: a file cannot be read, or there is none.
    """
    started = time.monotonic()
    if not files:
        raise GoldenError("No golden data was given.", fix="give the bundle's folder")
    data = [(file, _load(file)) for file in files]
    ports = [_Port.open(target, False, timeout), *([_Port.open(rest, True, timeout)] if rest else [])]
    checks: list[Check] = []
    try:
        for port in ports:
            for file, golden in data:
                for check in _Replay(port, file, golden).checks(started + timeout):
                    checks.append(check)
                    if progress:
                        progress(check)
    finally:
        for port in ports:
            port.close()
    return SmokeReport(tuple(str(p.main.target) for p in ports), tuple(checks), time.monotonic() - started)


def _load(file: GoldenFile) -> Golden:
    try:
        return Golden.load(file.path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as exc:
        fix = "build the model again; `tfbundle verify` says what else is damaged"
        raise GoldenError(f"The golden data {file.path} cannot be read: {exc}.", fix=fix) from exc


@dataclass(frozen=True)
class _Port:
    """One port of the server; a REST port is asked in both of JSON's forms."""

    main: Client
    rows: Client | None = None

    @classmethod
    def open(cls, target: str, rest: bool, timeout: float) -> _Port:
        main = Client(target, rest=rest, timeout=timeout)
        if not main.target.rest:
            return cls(main)
        return cls(main, Client(target, rest=rest, timeout=timeout, rest_format="row"))

    def close(self) -> None:
        self.main.close()
        if self.rows:
            self.rows.close()


class _WrongError(Exception):
    """What a look found to be wrong; becomes the message of a failed check."""

    def __init__(self, message: str, max_rel: float | None = None) -> None:
        super().__init__(message)
        self.max_rel = max_rel


class _Replay:
    """The golden data of one version against one port."""

    def __init__(self, port: _Port, file: GoldenFile, golden: Golden) -> None:
        self.port = port
        self.file = file
        self.golden = golden
        self.info: ModelInfo | None = None

    def checks(self, deadline: float) -> Iterator[Check]:
        """Status, metadata, answers; what cannot work after a failure is not tried."""
        status = self._look("status", partial(self._wait, deadline))
        yield status
        if status.outcome == "failed":
            return
        yield self._look("metadata", self._metadata)
        if self.info is not None:
            for signature in self.golden.signatures:
                yield self._look(f"metadata {signature}", partial(self._signature, self.info, signature))
        rows_shown: set[str] = set()
        for case in self.golden.cases:
            yield from self._answers(case, rows_shown)

    def _look(self, what: str, look: Callable[[], float | None]) -> Check:
        """A check that passes if `look` returns: the largest relative error, or None."""
        started = time.monotonic()
        message, max_rel = "", None
        try:
            max_rel = look()
        except _WrongError as wrong:
            message, max_rel = str(wrong), wrong.max_rel
        except ServingError as exc:
            message = f"{exc.what} ({exc.fix})" if exc.fix else exc.what
        finite = max_rel if max_rel is None or max_rel < float("inf") else None
        check = self._check(what, "failed" if message else "passed", message)
        return replace(check, max_rel=finite, seconds=round(time.monotonic() - started, 4))

    def _check(self, what: str, outcome: Outcome, message: str) -> Check:
        over = "REST" if self.port.main.target.rest else "gRPC"
        return Check(over, self.file.model, self.file.version, what, outcome, message)

    def _wait(self, deadline: float) -> None:
        left = max(deadline - time.monotonic(), 0.0)
        try:
            self.port.main.wait_until_ready(self.file.model, self.file.version, timeout=left)
        except NotReadyError as exc:
            raise _WrongError("; ".join([exc.what, *self._served_instead()])) from exc

    def _served_instead(self) -> list[str]:
        """The versions that there are, where the one that was asked for is not."""
        try:
            states = self.port.main.status(self.file.model, timeout=5.0)
        except ServingError:
            return []  # the failure that is being explained says as much
        return [str(state) for state in states if state.version != self.file.version]

    def _metadata(self) -> None:
        asked = (self.file.model, self.file.version)
        info = self.port.main.metadata(asked[0], version=asked[1])
        if (info.name, info.version) != asked:
            raise _WrongError(f"asked for {asked[0]} version {asked[1]}, got {info.name} version {info.version}")
        self.info = info

    def _signature(self, info: ModelInfo, signature: str) -> None:
        """The served names, dtypes and dims must be those of the golden calls."""
        served = info.signatures.get(signature)
        if served is None:
            names = ", ".join(sorted(info.signatures)) or "none"
            raise _WrongError(f"the signature is not served; there are: {names}")
        problems: list[str] = []
        for case in self.golden.cases:
            if case.signature == signature:
                problems += _differences("input", self.golden.inputs(case), served.inputs)
                problems += _differences("output", self.golden.outputs(case), served.outputs)
        if problems:
            raise _WrongError("; ".join(dict.fromkeys(problems)))

    def _answers(self, case: GoldenCase, rows_shown: set[str]) -> Iterator[Check]:
        """Over gRPC one check a case; over REST in columns, and once a signature in rows."""
        what = f"predict {case.signature} {case.name}"
        main, rows = self.port.main, self.port.rows
        if rows is None:
            yield self._look(what, partial(self._predict, main, case, 0.0))
            yield from self._inference(case, 0.0)
            return
        unable = _not_in_json(self.golden, case)
        if unable:
            yield self._check(what, "skipped", f"REST cannot carry {unable}: use gRPC")
            return
        yield self._look(f"{what} (columns)", partial(self._predict, main, case, REST_ROUNDING))
        if case.signature not in rows_shown and _has_rows(case):
            rows_shown.add(case.signature)
            yield self._look(f"{what} (rows)", partial(self._predict, rows, case, REST_ROUNDING))
        yield from self._inference(case, REST_ROUNDING)

    def _inference(self, case: GoldenCase, extra: float) -> Iterator[Check]:
        """The same call through Classify or Regress, where the signature is for that."""
        served = self.info.signatures.get(case.signature) if self.info else None
        verb = VERBS.get(served.method, "") if served else ""
        if verb and list(case.inputs) == [EXAMPLES]:
            what = f"{verb.lower()} {case.signature} {case.name}"
            yield self._look(what, partial(self._infer, verb, case, extra))

    def _infer(self, verb: str, case: GoldenCase, extra: float) -> float:
        client, wanted = self.port.main, self.golden.outputs(case)
        examples = [bytes(example) for example in case.inputs[EXAMPLES].tolist()]
        if verb == "Regress":
            values = client.regress(self.file.model, examples, version=self.file.version, signature=case.signature)
            got = {name: np.array(values, np.float32).reshape(array.shape) for name, array in wanted.items()}
        else:
            got = classes_as_outputs(
                client.classify(self.file.model, examples, version=self.file.version, signature=case.signature)
            )
        return self._judged(wanted, got, extra)

    def _predict(self, client: Client, case: GoldenCase, extra: float) -> float:
        """The largest relative error of the answer, which is within the tolerance."""
        asked, wanted = self.golden.inputs(case), self.golden.outputs(case)
        got = client.predict(self.file.model, asked, version=self.file.version, signature=case.signature)
        return self._judged(wanted, got, extra)

    def _judged(self, wanted: dict[str, Array], got: dict[str, Array], extra: float) -> float:
        """The largest relative error of an answer, which has to be within the tolerance."""
        problems = [f"output {name!r} is missing in the answer" for name in wanted if name not in got]
        problems += [f"output {name!r} was not expected" for name in sorted(set(got) - set(wanted))]
        differences = [_compare(name, want, got[name]) for name, want in wanted.items() if name in got]
        problems += [d.explain() for d in differences if not d.within(self.golden.tolerance + extra)]
        worst = max((d.max_rel for d in differences), default=0.0)
        if problems:
            raise _WrongError("; ".join(problems), worst)
        return worst


def _differences(side: str, arrays: dict[str, Array], served: dict[str, TensorInfo]) -> Iterator[str]:
    for name in sorted(set(arrays) | set(served)):
        if name not in served:
            yield f"{side} {name!r} is missing; served are: {', '.join(sorted(served))}"
        elif name not in arrays:
            yield f"{side} {name!r} is served, but was not expected"
        elif served[name].dtype != array_dtype_name(arrays[name]):
            dtype = array_dtype_name(arrays[name])
            yield f"{side} {name!r}: expected dtype {dtype}, got {served[name].dtype}"
        elif not _fits(arrays[name].shape, served[name].dims):
            shape = list(arrays[name].shape)
            yield f"{side} {name!r}: expected dims that take {shape}, got {served[name]}"


def _fits(shape: tuple[int, ...], dims: tuple[int | None, ...] | None) -> bool:
    if dims is None:
        return True
    return len(shape) == len(dims) and all(d in (None, s) for d, s in zip(dims, shape, strict=True))


def _not_in_json(golden: Golden, case: GoldenCase) -> str:
    sides = (("input", golden.inputs(case)), ("output", golden.outputs(case)))
    return ", ".join(
        f"{side} {name!r} ({array_dtype_name(array)})"
        for side, arrays in sides
        for name, array in arrays.items()
        if array_dtype_name(array) in NOT_IN_JSON
    )


def _has_rows(case: GoldenCase) -> bool:
    """JSON's row form needs one first dim that all tensors have."""
    arrays = [*case.inputs.values(), *case.outputs.values()]
    return all(a.ndim for a in arrays) and len({a.shape[0] for a in arrays}) == 1 and arrays[0].shape[0] > 0


def _compare(name: str, want: Array, got: Array) -> Difference:
    if array_dtype_name(want) == array_dtype_name(got) == "bfloat16":
        return compare(name, bfloat16_to_float32(want), bfloat16_to_float32(got))
    return compare(name, want, got)
