"""Figures of a comparison, gathered request by request in memory that hardly grows with their number."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from serving.errors import DeadlineError, RequestError, ServingError
from serving.protocol.tensors import Array, array_dtype_name
from serving.shadow.answers import OutputComparison
from serving.shadow.source import Logged

_SHOWN_INPUTS = 8
"""Inputs that the summary of a request describes."""


@dataclass
class OutputFigures:
    """Differences of one output over all requests that both versions answered.

    Attributes:
        signature: the signature.
        output: name of the output.
        requests: number of requests.
        differing: requests whose values differ by more than the tolerance, or cannot be compared.
        incomparable: requests in which dtype, shape or the positions of NaN differ, or one answer lacks the output.
        problem: the reason for the first of these.
        max_abs: largest absolute difference.
        max_rel: largest relative difference (`serving.golden.compare`).
        sum_abs: sum of all absolute differences.
        elements: number of elements that were subtracted.
        rows: rows that have a top class.
        same_top: rows whose top class is the same.
    """

    signature: str
    output: str
    requests: int = 0
    differing: int = 0
    incomparable: int = 0
    problem: str = ""
    max_abs: float = 0.0
    max_rel: float = 0.0
    sum_abs: float = 0.0
    elements: int = 0
    rows: int = 0
    same_top: int = 0

    @property
    def mean_abs(self) -> float | None:
        """Mean absolute difference of the elements; None if the output has no numbers."""
        return self.sum_abs / self.elements if self.elements else None

    @property
    def top_agreement(self) -> float | None:
        """Share of rows whose top class is the same; None if the output has no scores of classes."""
        return self.same_top / self.rows if self.rows else None

    def add(self, compared: OutputComparison, tolerance: float) -> None:
        """Add the comparison of one request."""
        self.requests += 1
        self.differing += not compared.difference.within(tolerance)
        self.rows += compared.rows
        self.same_top += compared.same_top
        self.sum_abs += compared.sum_abs
        self.elements += compared.elements
        if compared.difference.problem:
            self.incomparable += 1
            self.problem = self.problem or compared.difference.problem
            return
        self.max_abs = max(self.max_abs, compared.difference.max_abs)
        self.max_rel = max(self.max_rel, compared.difference.max_rel)

    def to_json(self) -> dict[str, Any]:
        """Return plain data without infinite differences, which JSON cannot hold: those of strings and booleans."""
        data = {**asdict(self), "mean_abs": self.mean_abs, "same_top_share": self.top_agreement}
        return {key: value for key, value in data.items() if value not in ("", None, float("inf"))}


@dataclass
class SideFigures:
    """What one version did.

    Attributes:
        answered: requests that it answered.
        failures: status of a failure -> number of requests.
        examples: status of a failure -> the first message, with the place of its request.
        seconds: the time to each whole answer, of the requests that both versions answered.
    """

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("d"))

    @property
    def failed(self) -> int:
        """Number of requests that it did not answer."""
        return sum(self.failures.values())

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile of the latency in milliseconds; None without answers."""
        return float(np.percentile(np.frombuffer(self.seconds), percent)) * 1e3 if self.seconds else None

    def fail(self, logged: Logged, error: ServingError) -> str:
        """Count a failure and return its status."""
        status = status_of(error)
        self.failures[status] += 1
        self.examples.setdefault(status, f"{logged}: {error.what}")
        return status


def status_of(error: ServingError) -> str:
    """Return a short name of an error: the status of a refusal, else what kind of error it is."""
    if isinstance(error, RequestError):
        return error.status
    return "DEADLINE_EXCEEDED" if isinstance(error, DeadlineError) else type(error).__name__


@dataclass(frozen=True)
class Worst:
    """A request with a large difference.

    Attributes:
        where: the record and its file.
        signature: the signature.
        agrees: whether the request counts as one on which the versions agree.
        explanation: the output and its values in both answers, or what is wrong.
        inputs: a summary of each input: dtype, shape and range, never a text of a user.
    """

    where: str
    signature: str
    agrees: bool
    explanation: str
    inputs: tuple[str, ...]


@dataclass
class Tally:
    """Figures of all requests so far.

    Attributes:
        tolerance: the largest relative difference of answers that agree.
        most: number of the worst requests that are kept.
        requests: requests that were sent to both versions.
        agreed: requests on which the versions agree.
        differed: requests that both answered differently.
        one_failed: requests that one version answered and the other did not.
        both_failed: requests that neither answered.
        sides: what each version did.
        outputs: figures of each (signature, output).
        largest: the largest relative difference of each request that both answered.
        repeated: requests that the first version was asked twice.
        repeats_agreed: those of them whose two answers agree.
        noise: figures of each (signature, output) of these two answers.
    """

    tolerance: float
    most: int = 5
    requests: int = 0
    agreed: int = 0
    differed: int = 0
    one_failed: int = 0
    both_failed: int = 0
    sides: tuple[SideFigures, SideFigures] = field(default_factory=lambda: (SideFigures(), SideFigures()))
    outputs: dict[tuple[str, str], OutputFigures] = field(default_factory=dict)
    largest: array[float] = field(default_factory=lambda: array("f"))
    repeated: int = 0
    repeats_agreed: int = 0
    noise: dict[tuple[str, str], OutputFigures] = field(default_factory=dict)
    _worst: list[tuple[tuple[bool, float, int, int], Worst]] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Requests that at least one version answered."""
        return self.agreed + self.differed + self.one_failed

    @property
    def worst(self) -> tuple[Worst, ...]:
        """The requests with the largest differences, the worst one first."""
        return tuple(entry for _, entry in sorted(self._worst, key=lambda row: row[0], reverse=True))

    def add_answers(
        self, logged: Logged, compared: Sequence[OutputComparison], seconds: tuple[float, float], agrees: bool
    ) -> None:
        """Add a request that both versions answered."""
        self.requests += 1
        self.agreed += agrees
        self.differed += not agrees
        for side, elapsed in zip(self.sides, seconds, strict=True):
            side.answered += 1
            side.seconds.append(elapsed)
        _add(self.outputs, logged.request.signature, compared, self.tolerance)
        top = max(compared, key=lambda each: each.difference.max_rel, default=None)
        self.largest.append(top.difference.max_rel if top else 0.0)
        if top and (not agrees or top.difference.max_rel > 0):
            shown = _explain(compared, self.tolerance) if not agrees else _explain([top], 0.0)
            flips = sum(each.rows - each.same_top for each in compared)
            self._keep(logged, (not agrees, top.difference.max_rel, flips, -logged.index), shown)

    def add_failures(self, logged: Logged, errors: tuple[ServingError | None, ServingError | None], names: Sequence[str]) -> None:
        """Add a request that one version or both did not answer; `names` are those of the versions."""
        self.requests += 1
        for side, error in zip(self.sides, errors, strict=True):
            if error is None:
                side.answered += 1
            else:
                side.fail(logged, error)
        if all(errors):
            self.both_failed += 1
            return
        self.one_failed += 1
        failed = next(f"{name} fails: {error.what}" for name, error in zip(names, errors, strict=True) if error)
        self._keep(logged, (True, float("inf"), 0, -logged.index), f"only {failed}")

    def add_repeat(self, logged: Logged, compared: Sequence[OutputComparison], agrees: bool) -> None:
        """Add the comparison of two answers of the first version to one request."""
        self.repeated += 1
        self.repeats_agreed += agrees
        _add(self.noise, logged.request.signature, compared, self.tolerance)

    def _keep(self, logged: Logged, rank: tuple[bool, float, int, int], explanation: str) -> None:
        """Keep a request if it is among the worst; `rank` is whether it counts, the difference, flipped rows, and the order."""
        if self.most < 1 or (len(self._worst) == self.most and rank <= self._worst[0][0]):
            return
        inputs = summaries(logged.request.inputs)
        row = (rank, Worst(str(logged), logged.request.signature, not rank[0], explanation, inputs))
        if len(self._worst) < self.most:
            heapq.heappush(self._worst, row)
        else:
            heapq.heapreplace(self._worst, row)


def _add(
    figures: dict[tuple[str, str], OutputFigures], signature: str, compared: Sequence[OutputComparison], tolerance: float
) -> None:
    for each in compared:
        own = figures.setdefault((signature, each.name), OutputFigures(signature, each.name))
        own.add(each, tolerance)


def _explain(compared: Sequence[OutputComparison], tolerance: float) -> str:
    """Return what differs beyond the tolerance, or in its top class, in the words of a reader who knows both versions."""
    texts = []
    for each in compared:
        difference = each.difference
        if difference.problem:
            texts.append(f"output {each.name!r}: {difference.problem}")
        elif difference.index is not None and not difference.within(tolerance):
            size = "" if difference.max_rel == float("inf") else f" (relative difference {difference.max_rel:.3g})"
            texts.append(f"output {each.name!r} at {list(difference.index)}: {difference.want} and {difference.got}{size}")
        if each.same_top < each.rows:
            texts.append(f"output {each.name!r}: another top class in {each.rows - each.same_top} of {each.rows} rows")
    return "; ".join(texts)


def summaries(inputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Return a summary of each input: dtype, shape and range. Of texts only lengths are told, as logs hold users' data."""
    texts = [_summary(name, array) for name, array in sorted(inputs.items())[:_SHOWN_INPUTS]]
    more = len(inputs) - _SHOWN_INPUTS
    return (*texts, f"{more} more") if more > 0 else tuple(texts)


def _summary(name: str, values: Array) -> str:
    dtype = array_dtype_name(values)
    head = f"{name}: {dtype}[{','.join(map(str, values.shape))}]"
    if values.size == 0:
        return head
    if dtype == "string":
        lengths = [len(value) for value in values.reshape(-1).tolist()]
        return f"{head} of {min(lengths)} to {max(lengths)} bytes"
    if values.dtype.kind not in "fiub" or dtype == "bfloat16":
        return head
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    strange = values.size - finite.size
    ends = f" from {finite.min():.6g} to {finite.max():.6g}" if finite.size and values.dtype.kind != "b" else ""
    return f"{head}{ends}, {strange} not finite" if strange else f"{head}{ends}"
