"""The result of a comparison: figures, verdict, and the bounds that it may exceed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from serving.shadow.source import LeftOut
from serving.shadow.tally import OutputFigures, SideFigures, Tally
from serving.texts import plural

AgreeOn = Literal["values", "top1"]
"""When versions agree on a request: all values within the tolerance, or the same top class in each row."""

_FEW = 20
"""Fewer answers than this give no latency that is worth a bound."""


@dataclass(frozen=True)
class Bounds:
    """What is still accepted; None for no bound.

    Attributes:
        max_disagreement: the largest share of requests on which the versions differ, or that only one of them answers.
        max_latency_ratio: the largest median latency of the second version, as a multiple of the first one's.
    """

    max_disagreement: float | None = None
    max_latency_ratio: float | None = None


@dataclass(frozen=True)
class ShadowReport:
    """The result of a comparison.

    Attributes:
        target: the server.
        model: the model.
        names: how the two versions were named: `version 1`, or their labels.
        versions: their numbers.
        agree_on: what agreement means.
        tally: the figures.
        left_out: what was not compared.
        changes: how the signatures differ, in sentences.
        incomplete: why the comparison is not one of the whole log, in sentences; empty if it is.
        seconds: how long it took.
        concurrency: number of requests under way at once.
    """

    target: str
    model: str
    names: tuple[str, str]
    versions: tuple[int, int]
    agree_on: AgreeOn
    tally: Tally
    left_out: LeftOut
    changes: tuple[str, ...]
    incomplete: tuple[str, ...]
    seconds: float
    concurrency: int

    @property
    def disagreement(self) -> float | None:
        """Share of the compared requests on which the versions differ, or that one did not answer; None without any."""
        compared = self.tally.compared
        return (self.tally.differed + self.tally.one_failed) / compared if compared else None

    @property
    def noise(self) -> float | None:
        """Share of the repeated requests to which the first version gives two answers that differ; None without any."""
        tally = self.tally
        return 1 - tally.repeats_agreed / tally.repeated if tally.repeated else None

    def latency_ratio(self, percent: float = 50) -> float | None:
        """Return a percentile of the second version's latency as a multiple of the first one's; None without answers."""
        first, second = (side.percentile_ms(percent) for side in self.tally.sides)
        return second / first if first and second else None

    def exceeded(self, bounds: Bounds) -> list[str]:
        """Return one sentence for each bound that is exceeded."""
        found = []
        share, ratio = self.disagreement, self.latency_ratio()
        if bounds.max_disagreement is not None and share is not None and share > bounds.max_disagreement:
            allowed = share_text(bounds.max_disagreement)
            found.append(f"The versions differ on {share_text(share)} of the requests; at most {allowed} is allowed.")
        if bounds.max_latency_ratio is not None and ratio is not None and ratio > bounds.max_latency_ratio:
            found.append(
                f"The median latency of {self.names[1]} is {ratio:.3g} times that of {self.names[0]}; "
                f"at most {bounds.max_latency_ratio:g} times is allowed."
            )
        return found

    def notes(self) -> list[str]:
        """Return what a reader of the figures has to know, one sentence each."""
        tally, noise = self.tally, self.noise
        notes = [*self.left_out.sentences(), *self.changes]
        if noise:
            notes.append(
                f"{self.names[0]} differs from itself on {share_text(noise)} of {plural(tally.repeated, 'request')} that it was "
                "asked twice: so much of the difference may be noise."
            )
        if tally.both_failed:
            requests = plural(tally.both_failed, "request")
            notes.append(f"{requests} that neither version answers do not count.")
        if 0 < len(tally.sides[0].seconds) < _FEW:
            notes.append(f"{plural(len(tally.sides[0].seconds), 'answer')} are too few for a latency to rely on.")
        return notes

    def verdict(self) -> str:
        """Return one line of text: on how many requests the versions agree, and how their latencies compare."""
        tally, share, ratio = self.tally, self.disagreement, self.latency_ratio()
        if share is None:
            return f"Nothing was compared: neither version answers any of {plural(tally.requests, 'request')}."
        what = "values within the tolerance" if self.agree_on == "values" else "the same top classes"
        speed = f"; {self.names[1]} takes {ratio:.3g} times as long (median)" if ratio else ""
        failed = f", {tally.one_failed} answered by only one" if tally.one_failed else ""
        return (
            f"{tally.agreed} of {plural(tally.compared, 'request')} agree ({share_text(1 - share)}, {what}), "
            f"{tally.differed} differ{failed}{speed}"
        )

    def to_json(self, bounds: Bounds | None = None) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        tally = self.tally
        exceeded = self.exceeded(bounds or Bounds())
        return {
            "passed": not exceeded and not self.incomplete and self.disagreement is not None,
            "complete": not self.incomplete,
            "incomplete": list(self.incomplete),
            "exceeded": exceeded,
            "target": self.target,
            "model": self.model,
            "agree_on": self.agree_on,
            "tolerance": tally.tolerance,
            "concurrency": self.concurrency,
            "seconds": round(self.seconds, 3),
            "requests": tally.requests,
            "agreed": tally.agreed,
            "differed": tally.differed,
            "one_failed": tally.one_failed,
            "both_failed": tally.both_failed,
            "disagreement": self.disagreement,
            "versions": [self._side(number) for number in (0, 1)],
            "latency_ratio": {"p50": self.latency_ratio(50), "p99": self.latency_ratio(99)},
            "outputs": [figures.to_json() for figures in self.outputs],
            "noise": {
                "repeated": tally.repeated,
                "disagreement": self.noise,
                "outputs": [figures.to_json() for figures in tally.noise.values()],
            },
            "worst": [
                {"where": each.where, "signature": each.signature, "agrees": each.agrees, "why": each.explanation,
                 "inputs": list(each.inputs)}
                for each in tally.worst
            ],
            "signature_changes": list(self.changes),
            "skipped": {
                "kinds": dict(self.left_out.kinds),
                "models": dict(self.left_out.models),
                "signatures": dict(self.left_out.signatures),
                "damaged": list(self.left_out.damaged),
                "damaged_count": self.left_out.damaged_count,
            },
        }  # fmt: skip

    def _side(self, number: int) -> dict[str, Any]:
        side: SideFigures = self.tally.sides[number]
        return {
            "name": self.names[number],
            "version": self.versions[number],
            "answered": side.answered,
            "failed": side.failed,
            "failures": dict(side.failures),
            "examples": dict(side.examples),
            "p50_ms": _rounded(side.percentile_ms(50)),
            "p99_ms": _rounded(side.percentile_ms(99)),
        }

    @property
    def outputs(self) -> list[OutputFigures]:
        """Figures of each output, by the names of signature and output."""
        return [figures for _, figures in sorted(self.tally.outputs.items())]


def share_text(share: float) -> str:
    """Return a share as text: `0.3 %`; a share that is neither 0 nor 1 never looks like either."""
    percent = 100 * share
    for digits in (1, 2, 4):
        text = f"{percent:.{digits}f}"
        if (float(text) not in (0, 100)) or percent in (0, 100):
            break
    return f"{float(text):g} %"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
