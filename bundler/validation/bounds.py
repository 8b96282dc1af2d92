"""The figures of a new version beside those of the one in service, and the bounds that they have to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bundler.errors import ComparisonError
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.spec.against_spec import AgainstSpec

LEAST_AGREEMENT = 0.9
"""The bound for agreement on golden data where neither a bound nor a metric is given."""


class Figures(NamedTuple):
    """A figure of the version in service, and of the new one."""

    before: float
    after: float

    @property
    def ratio(self) -> float:
        """The figure of the new version as a multiple of that of the version in service; 1 if both are 0."""
        return self.after / self.before if self.before else float("inf") if self.after else 1.0


class Line(NamedTuple):
    """One compared quantity as text: figures of both versions, the bound, and whether it is kept; None without a bound."""

    name: str
    before: str
    after: str
    bound: str
    kept: bool | None

    def __str__(self) -> str:
        before = f" ({self.before} before)" if self.before else ""
        return f"{self.name}: {self.after}{before}, but the bound is {self.bound}"


@dataclass(frozen=True)
class Compared:
    """The comparison of a new version with the one in service.

    Attributes:
        version: the version in service.
        label: the label by which it was named; empty if it was named by its number.
        size_bytes: sizes of the folders in models/.
        golden: share of rows of golden calls that both answer alike, by output.
        golden_rows: number of those rows.
        labelled: the same for the calls of the evaluate function.
        labelled_rows: number of those rows.
        function: the evaluate function; empty without one.
        metric: its metric.
        latency_ms: median latency of the smallest golden call for a lone client over gRPC, in ms.
        problems: requests that the version in service takes and the new one does not.
        failure: the error of the first golden call that only the version in service answers.
    """

    version: int
    label: str
    size_bytes: Figures
    golden: Mapping[str, float] = field(default_factory=dict)
    golden_rows: int = 0
    labelled: Mapping[str, float] = field(default_factory=dict)
    labelled_rows: int = 0
    function: str = ""
    metric: Figures | None = None
    latency_ms: Figures | None = None
    problems: tuple[str, ...] = ()
    failure: str = ""

    @property
    def name(self) -> str:
        """The version in service, as text."""
        return f"version {self.version}" + (f" ({self.label})" if self.label else "")

    def lines(self, bounds: AgainstSpec) -> Iterator[Line]:
        """Yield each compared quantity with its bound."""
        if self.metric:
            floor = self.metric.before - bounds.max_metric_drop
            yield Line(
                f"metric {self.function}", f"{self.metric.before:.4g}", f"{self.metric.after:.4g}", f"at least {floor:.4g}",
                self.metric.after >= floor,
            )  # fmt: skip
        least = bounds.min_agreement
        yield from _agreement("labelled", self.labelled, self.labelled_rows, least)
        if least is None and not self.metric:
            least = LEAST_AGREEMENT
        yield from _agreement("golden", self.golden, self.golden_rows, None if self.labelled else least)
        if self.latency_ms:
            yield _ratio("latency", self.latency_ms, "ms", bounds.max_latency_ratio)
        megabytes = Figures(self.size_bytes.before / 1e6, self.size_bytes.after / 1e6)
        yield _ratio("size", megabytes, "MB", bounds.max_size_ratio)

    def complaints(self, bounds: AgainstSpec) -> tuple[str, ...]:
        """Return why the new version must not be published; empty if it may."""
        failed = [f"it cannot answer a golden call that {self.name} answers: {self.failure}"] if self.failure else []
        broken = [str(line) for line in self.lines(bounds) if line.kept is False]
        interface = [f"clients of {self.name} would fail: {problem}" for problem in self.problems]
        return (*interface, *failed, *broken)

    def to_json(self, bounds: AgainstSpec) -> dict[str, Any]:
        """Return the record for bundle.json."""
        complaints = self.complaints(bounds)
        return {
            "version": self.version,
            "label": self.label or None,
            "passed": not complaints,
            "complaints": list(complaints),
            "function": self.function,
            "lines": [line._asdict() for line in self.lines(bounds)],
            "agreement": {
                kind: {"rows": rows, "bound": _bound(kind, self, bounds), "outputs": {k: round(v, 5) for k, v in shares.items()}}
                for kind, shares, rows in (
                    ("labelled", self.labelled, self.labelled_rows), ("golden", self.golden, self.golden_rows),
                )
                if shares
            },
            **({"metric": _json(self.metric)} if self.metric else {}),
            **({"latency_ms": _json(self.latency_ms)} if self.latency_ms else {}),
            "size_bytes": {"before": int(self.size_bytes.before), "after": int(self.size_bytes.after)},
        }  # fmt: skip


def _bound(kind: str, compared: Compared, bounds: AgainstSpec) -> float | None:
    if bounds.min_agreement is None:
        return LEAST_AGREEMENT if kind == "golden" and not compared.metric else None
    return bounds.min_agreement if kind == "labelled" or not compared.labelled else None


def _json(figures: Figures) -> dict[str, float]:
    return {"before": round(figures.before, 6), "after": round(figures.after, 6)}


def _agreement(kind: str, shares: Mapping[str, float], rows: int, least: float | None) -> Iterator[Line]:
    for output, share in shares.items():
        name = f"{output}: {kind} rows answered alike ({plural(rows, 'row')})"
        bound = "" if least is None else f"at least {least:.3g}"
        yield Line(name, "", f"{share:.4g}", bound, None if least is None else share >= least)


def _ratio(name: str, figures: Figures, unit: str, most: float | None) -> Line:
    before, after = f"{figures.before:.3g} {unit}", f"{figures.after:.3g} {unit}"
    if most is None:
        return Line(name, before, after, "", None)
    return Line(name, before, after, f"at most {most:g} of it", figures.ratio <= most)


def comparison_error(compared: Mapping[str, tuple[Compared, AgainstSpec]]) -> ComparisonError | None:
    """Return the error for new versions that break a bound, with the figures of each model; None if all keep them.

    Args:
        compared: the comparison and the bounds of each model.
    """
    texts = []
    for model, (result, bounds) in compared.items():
        complaints = result.complaints(bounds)
        if complaints:
            texts.append(f"The new version of {model!r} is worse than {result.name}, so nothing was published:")
            texts += [f"  {complaint}" for complaint in complaints]
    if not texts:
        return None
    unlabelled = any(not result.metric and result.latency_ms for result, _ in compared.values())
    better = "; golden data are mostly noise, so that a metric on labelled data (tflite.evaluate) judges better"
    error = ComparisonError(
        "\n".join(texts),
        fix="improve the model, or widen the bounds in the section 'against' of bundle.yaml if the loss is acceptable"
        + (better if unlabelled else ""),
    )
    error.records = {model: result.to_json(bounds) for model, (result, bounds) in compared.items()}
    return error
