"""Smoke test: does a running server serve these models, and does it answer what PyTorch answered?

The test replays golden data over gRPC and REST. It waits until the version is available, checks status and metadata (names,
dtypes and dims of every signature), then runs every case of every signature and compares every output within the model's
tolerance. A case that a transport cannot carry is reported as skipped, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from serving.client.client import Client
from serving.client.connection import ConnectionSettings
from serving.client.examples import EXAMPLES, VERBS, classes_as_outputs
from serving.client.model_info import ModelInfo, TensorInfo
from serving.client.rest_protocol import NOT_IN_JSON
from serving.client.transport import Target
from serving.errors import GoldenError, NotReadyError, ServingError
from serving.golden.compare import compare
from serving.golden.data import Golden, GoldenCase
from serving.protocol.tensors import Array, array_dtype_name

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
    """Result of one check.

    Attributes:
        over: `gRPC` or `REST`.
        model: name of the model.
        version: version of the model.
        what: `status`, `metadata`, `metadata <signature>` or `predict <signature> <case>` (over REST with
            the form of its JSON), `classify <signature> <case>` or `regress <signature> <case>`.
        outcome: `passed`, `failed` or `skipped`.
        message: why the check failed or was skipped; empty if it passed.
        max_rel: largest relative error of the outputs; None if none could be compared.
        seconds: how long the check took.
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
    """All checks of one server.

    Attributes:
        targets: the ports that were tested.
        checks: the results, in order.
        seconds: how long the test took.
    """

    targets: tuple[str, ...]
    checks: tuple[Check, ...]
    seconds: float

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        """The checks that were skipped."""
        return tuple(check for check in self.checks if check.outcome == "skipped")

    @property
    def passed(self) -> bool:
        """Whether at least one check passed and none failed."""
        return not self.failures and any(check.outcome == "passed" for check in self.checks)

    def verdict(self) -> str:
        """Return one line of text: the verdict and the numbers of checks by outcome."""
        passed = len(self.checks) - len(self.failures) - len(self.skipped)
        parts = [f"{passed} passed", f"{len(self.failures)} failed", f"{len(self.skipped)} skipped"]
        counts = ", ".join(part for part in parts if not part.startswith("0 ") or part == parts[0])
        word = "PASSED" if self.passed else "FAILED"
        return f"{word}: {counts} against {' and '.join(self.targets)} in {self.seconds:.2f} s"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        return {
            "passed": self.passed,
            "targets": list(self.targets),
            "seconds": round(self.seconds, 3),
            "checks": [
                {key: value for key, value in asdict(check).items() if value not in (None, "")} for check in self.checks
            ],
        }


def golden_files(folder: Path) -> list[GoldenFile]:
    """Return the golden data in `<folder>/<model>/<version>.npz`, sorted by model and version.

    Raises:
        GoldenError: the folder has none.
    """
    files = [
        GoldenFile(path.parent.name, int(path.stem), path) for path in folder.glob("*/*.npz") if path.stem.isdecimal()
    ]
    if not files:
        raise GoldenError(f"There is no golden data in {folder}.", fix="give the folder of a bundle", code="TFB7201")
    return sorted(files, key=lambda file: (file.model, file.version))


def run(
    target: str,
    files: Sequence[GoldenFile],
    *,
    rest: str | None = None,
    timeout: float = 60.0,
    connection: ConnectionSettings | None = None,
    progress: Callable[[Check], None] | None = None,
) -> SmokeReport:
    """Test a server against golden data.

    Args:
        target: `host:port` of the server's gRPC port, or an `http://` URL to test REST alone.
        files: the golden data to replay.
        rest: the server's REST port as `host:port` or URL, to test both.
        timeout: seconds for all models together to become available, and for each answer.
        connection: how to connect; None for the default settings.
        progress: called with each check when it is done.

    Raises:
        TargetError: a target is not an address, or the settings do not fit it.
        GoldenError: a file cannot be read, or no file is given.
    """
    started = time.monotonic()
    if not files:
        raise GoldenError("No golden data was given.", fix="give the folder of a bundle", code="TFB7201")
    data = [(file, Golden.load(file.path)) for file in files]
    settings = connection or ConnectionSettings()
    ports = [_Port.open(partial(Client, timeout=timeout, connection=settings), target, False)]
    if rest:
        plain_or_not = settings.for_target(Target.parse(rest, rest=True))  # TensorFlow Serving's REST port has no TLS
        ports.append(_Port.open(partial(Client, timeout=timeout, connection=plain_or_not), rest, True))
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


@dataclass(frozen=True)
class _Port:
    """Clients of one port: `rows` is the second client of a REST port, for the row form of JSON."""

    main: Client
    rows: Client | None = None

    @classmethod
    def open(cls, connect: Callable[..., Client], target: str, rest: bool) -> _Port:
        main = connect(target, rest=rest)
        if not main.target.rest:
            return cls(main)
        return cls(main, connect(target, rest=rest, rest_format="row"))

    def close(self) -> None:
        self.main.close()
        if self.rows:
            self.rows.close()


class _CheckFailedError(Exception):
    """A check has failed; the text becomes its message."""

    def __init__(self, message: str, max_rel: float | None = None) -> None:
        super().__init__(message)
        self.max_rel = max_rel


class _Replay:
    """Replay of one version's golden data against one port."""

    def __init__(self, port: _Port, file: GoldenFile, golden: Golden) -> None:
        self.port = port
        self.file = file
        self.golden = golden
        self.info: ModelInfo | None = None

    def checks(self, deadline: float) -> Iterator[Check]:
        """Check status, metadata and answers; stop at checks that cannot pass after a failure."""
        status = self._perform("status", partial(self._wait, deadline))
        yield status
        if status.outcome == "failed":
            return
        yield self._perform("metadata", self._metadata)
        if self.info is not None:
            for signature in self.golden.signatures:
                yield self._perform(f"metadata {signature}", partial(self._signature, self.info, signature))
        rows_shown: set[str] = set()
        for case in self.golden.cases:
            yield from self._answers(case, rows_shown)

    def _perform(self, what: str, action: Callable[[], float | None]) -> Check:
        """Return a check that passes if `action` returns: the largest relative error, or None."""
        started = time.monotonic()
        message, max_rel = "", None
        try:
            max_rel = action()
        except _CheckFailedError as failure:
            message, max_rel = str(failure), failure.max_rel
        except ServingError as exc:
            message = f"{exc.what} ({exc.fix})" if exc.fix else exc.what
        finite = max_rel if max_rel is None or max_rel < float("inf") else None
        check = self._check(what, "failed" if message else "passed", message)
        return replace(check, max_rel=finite, seconds=round(time.monotonic() - started, 4))

    def _check(self, what: str, outcome: Outcome, message: str) -> Check:
        over = "REST" if self.port.main.target.rest else "gRPC"
        return Check(over, self.file.model, self.file.version, what, outcome, message)

    def _wait(self, deadline: float) -> None:
        remaining = max(deadline - time.monotonic(), 0.0)
        try:
            self.port.main.wait_until_ready(self.file.model, self.file.version, timeout=remaining)
        except NotReadyError as exc:
            raise _CheckFailedError("; ".join([exc.what, *self._other_versions()])) from exc

    def _other_versions(self) -> list[str]:
        """Return the states of the model's other versions, to explain a missing one."""
        try:
            states = self.port.main.status(self.file.model, timeout=5.0)
        except ServingError:
            return []  # the failure that is being explained has the same cause
        return [str(state) for state in states if state.version != self.file.version]

    def _metadata(self) -> None:
        model, version = self.file.model, self.file.version
        info = self.port.main.metadata(model, version=version)
        if (info.name, info.version) != (model, version):
            raise _CheckFailedError(f"requested {model} version {version}, got {info.name} version {info.version}")
        self.info = info

    def _signature(self, info: ModelInfo, signature: str) -> None:
        """Check that the served names, dtypes and dims are those of the golden calls."""
        served = info.signatures.get(signature)
        if served is None:
            names = ", ".join(sorted(info.signatures)) or "none"
            raise _CheckFailedError(f"the signature is not served; served signatures: {names}")
        problems: list[str] = []
        for case in self.golden.cases:
            if case.signature == signature:
                problems += _signature_problems("input", self.golden.inputs(case), served.inputs)
                problems += _signature_problems("output", self.golden.outputs(case), served.outputs)
        if problems:
            raise _CheckFailedError("; ".join(dict.fromkeys(problems)))

    def _answers(self, case: GoldenCase, rows_shown: set[str]) -> Iterator[Check]:
        """Check a case: once over gRPC; over REST in columns, and the first case of each signature also in rows."""
        what = f"predict {case.signature} {case.name}"
        main, rows = self.port.main, self.port.rows
        if rows is None:
            yield self._perform(what, partial(self._predict, main, case, 0.0))
            yield from self._inference(case, 0.0)
            return
        unsupported = _not_in_json(self.golden, case)
        if unsupported:
            yield self._check(what, "skipped", f"REST cannot carry {unsupported}: use gRPC")
            return
        yield self._perform(f"{what} (columns)", partial(self._predict, main, case, REST_ROUNDING))
        if case.signature not in rows_shown and _has_rows(case):
            rows_shown.add(case.signature)
            yield self._perform(f"{what} (rows)", partial(self._predict, rows, case, REST_ROUNDING))
        yield from self._inference(case, REST_ROUNDING)

    def _inference(self, case: GoldenCase, extra: float) -> Iterator[Check]:
        """Check the same call through Classify or Regress, if the signature's method name is one of them."""
        served = self.info.signatures.get(case.signature) if self.info else None
        verb = VERBS.get(served.method, "") if served else ""
        if verb and list(case.inputs) == [EXAMPLES]:
            what = f"{verb.lower()} {case.signature} {case.name}"
            yield self._perform(what, partial(self._infer, verb, case, extra))

    def _infer(self, verb: str, case: GoldenCase, extra: float) -> float:
        client, outputs = self.port.main, self.golden.outputs(case)
        examples = [bytes(example) for example in case.inputs[EXAMPLES].tolist()]
        if verb == "Regress":
            values = client.regress(self.file.model, examples, version=self.file.version, signature=case.signature)
            numbers = np.array(values, np.float32)
            # A wrong number of values is left for the comparison to report.
            got = {name: numbers.reshape(array.shape if array.size == numbers.size else -1) for name, array in outputs.items()}
        else:
            got = classes_as_outputs(
                client.classify(self.file.model, examples, version=self.file.version, signature=case.signature)
            )
        return self._compare(outputs, got, extra)

    def _predict(self, client: Client, case: GoldenCase, extra: float) -> float:
        inputs, outputs = self.golden.inputs(case), self.golden.outputs(case)
        got = client.predict(self.file.model, inputs, version=self.file.version, signature=case.signature)
        return self._compare(outputs, got, extra)

    def _compare(self, outputs: dict[str, Array], got: dict[str, Array], extra: float) -> float:
        """Return the largest relative error of an answer; fail if it exceeds the tolerance plus `extra`."""
        problems = [f"output {name!r} is missing in the answer" for name in outputs if name not in got]
        problems += [f"output {name!r} was not expected" for name in sorted(set(got) - set(outputs))]
        differences = [compare(name, want, got[name]) for name, want in outputs.items() if name in got]
        tolerance = self.golden.served_tolerance + extra
        problems += [difference.explain() for difference in differences if not difference.within(tolerance)]
        worst = max((difference.max_rel for difference in differences), default=0.0)
        if problems:
            raise _CheckFailedError("; ".join(problems), worst)
        return worst


def _signature_problems(side: str, arrays: dict[str, Array], served: dict[str, TensorInfo]) -> Iterator[str]:
    for name in sorted(set(arrays) | set(served)):
        if name not in served:
            yield f"{side} {name!r} is missing; served {side}s: {', '.join(sorted(served))}"
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
    return len(shape) == len(dims) and all(dim in (None, size) for dim, size in zip(dims, shape, strict=True))


def _not_in_json(golden: Golden, case: GoldenCase) -> str:
    """Return the tensors of a case that JSON cannot carry, as text; empty if there are none."""
    sides = (("input", golden.inputs(case)), ("output", golden.outputs(case)))
    return ", ".join(
        f"{side} {name!r} ({array_dtype_name(array)})"
        for side, arrays in sides
        for name, array in arrays.items()
        if array_dtype_name(array) in NOT_IN_JSON
    )


def _has_rows(case: GoldenCase) -> bool:
    """Return whether JSON's row form can carry the case: all its tensors need the same first dim."""
    arrays = [*case.inputs.values(), *case.outputs.values()]
    return all(a.ndim for a in arrays) and len({a.shape[0] for a in arrays}) == 1 and arrays[0].shape[0] > 0
