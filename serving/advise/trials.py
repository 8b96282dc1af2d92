"""The figures of candidates, the choice between them by a goal, and the Pareto front."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from serving.advise.forms import Accuracy, Candidate, Form
from serving.advise.mix import RequestMix
from serving.bench.load import LoadFigures

Goal = Literal["throughput", "latency", "size"]
"""What the chosen candidate is best at: requests/s of all clients, the latency of a lone client, or the size on disk."""

BETTER = 1.05
"""The smallest gain that counts: a difference below 5 % is within the noise between turns."""


@dataclass(frozen=True)
class Comparison:
    """Figures of a candidate's server and of the reference server, which were loaded in turns."""

    figures: LoadFigures
    baseline: LoadFigures

    @property
    def gain(self) -> float:
        """Requests per second as a multiple of the reference's, the median over the turns; 0 if a request failed.

        A machine that stops for a moment in one turn would change the ratio of the whole time many times over.
        """
        if self.figures.failed or not self.baseline.per_second:
            return 0.0
        pairs = zip(self.figures.rates, self.baseline.rates, strict=True)
        ratios = [own / reference for own, reference in pairs if reference]
        return statistics.median(ratios) if ratios else self.figures.per_second / self.baseline.per_second

    @property
    def speedup(self) -> float:
        """The reference's median latency as a multiple of the candidate's; 0 if a request failed."""
        return 0.0 if self.figures.failed or not self.figures.p50_ms else self.baseline.p50_ms / self.figures.p50_ms

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data for JSON."""
        return {
            "gain": round(self.gain, 3),
            "speedup": round(self.speedup, 3),
            "with": self.figures.to_json(),
            "without": self.baseline.to_json(),
        }


@dataclass(frozen=True)
class Trial:
    """A measured candidate.

    Attributes:
        candidate: the form and the setting.
        loaded: the comparison under all clients; None if the candidate could not be measured.
        lone: the comparison with a single client; None likewise.
        failure: why it could not be measured.
    """

    candidate: Candidate
    loaded: Comparison | None = None
    lone: Comparison | None = None
    failure: str = ""

    @property
    def problem(self) -> str:
        """Why the candidate cannot be chosen; empty if it can."""
        for comparison in (self.loaded, self.lone):
            if comparison and comparison.figures.failed:
                return f"{comparison.figures.failed} of its requests failed: {comparison.figures.failure}"
        return self.failure

    @property
    def gain(self) -> float:
        """Requests per second as a multiple of the reference's, with all clients; 0 if it cannot be chosen."""
        return self.loaded.gain if self.loaded and not self.problem else 0.0

    @property
    def speedup(self) -> float:
        """How many times as fast as the reference a lone client is answered; 0 if it cannot be chosen."""
        return self.lone.speedup if self.lone and not self.problem else 0.0

    def score(self, goal: Goal) -> tuple[float, ...]:
        """Return how well the candidate meets a goal: larger is better."""
        size = -float(self.candidate.form.size_bytes)
        scores = {"throughput": (self.gain,), "latency": (self.speedup,), "size": (size, self.gain)}
        return scores[goal] if not self.problem else (-float("inf"),)

    def dominates(self, other: Trial) -> bool:
        """Whether this candidate is at least as good as the other in throughput, latency and size, and better in one of them."""
        pairs = [(self.gain, other.gain), (self.speedup, other.speedup)]
        pairs.append((-self.candidate.form.size_bytes, -other.candidate.form.size_bytes))
        return all(own >= its for own, its in pairs) and any(own > its for own, its in pairs)

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data for JSON."""
        form, setting = self.candidate.form, self.candidate.setting
        return {
            "form": {
                "artifact": form.artifact, "precision": form.precision, "mixed_precision": form.mixed_precision,
                "source": str(form.source), "size_bytes": form.size_bytes, "text": str(form),
            },
            "setting": {**asdict(setting), "text": str(setting)},
            "flags": list(self.candidate.flags("batching.config")),
            **({"loaded": self.loaded.to_json()} if self.loaded else {}),
            **({"lone": self.lone.to_json()} if self.lone else {}),
            **({"problem": self.problem} if self.problem else {}),
        }  # fmt: skip


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that no other one dominates, in their order; those that cannot be chosen are left out."""
    sound = [trial for trial in trials if not trial.problem]
    return [trial for trial in sound if not any(other.dominates(trial) for other in sound)]


def best_of(trials: Sequence[Trial], goal: Goal) -> Trial:
    """Return the trial that meets the goal best.

    Of those within `BETTER` of the best, which may be noise, it is the one that a lone client is answered fastest by; with the
    goal latency, the one with most requests/s.
    """
    best = max(trials, key=lambda trial: trial.score(goal))
    if goal == "size" or best.problem:
        return best
    near = [trial for trial in trials if trial.score(goal)[0] * BETTER >= best.score(goal)[0]]
    return max(near, key=lambda trial: trial.score("latency" if goal == "throughput" else "throughput"))


@dataclass(frozen=True)
class Advice:
    """Result of a search.

    Attributes:
        mix: the requests that were sent.
        goal: what the best candidate was chosen by.
        trials: the reference and all candidates that were tried, in order.
        confirmed: the best candidate, measured again, for longer.
        accuracy: how well each form answers the golden calls.
        load: load average of the machine over the minute before the search.
    """

    mix: RequestMix
    goal: Goal
    trials: tuple[Trial, ...]
    confirmed: Trial
    accuracy: dict[Form, Accuracy] = field(default_factory=dict)
    load: float = 0.0

    @property
    def reference(self) -> Trial:
        """The form that the bundle holds, served without flags: the first trial."""
        return self.trials[0]

    @property
    def per_second(self) -> float:
        """Requests per second of the reference under all clients: the median over all trials, in each of which it took turns."""
        return statistics.median([trial.loaded.baseline.per_second for trial in self.trials if trial.loaded])

    @property
    def alone_ms(self) -> float:
        """Median latency of the reference for a lone client, likewise."""
        return statistics.median([trial.lone.baseline.p50_ms for trial in self.trials if trial.lone])

    @property
    def front(self) -> list[Trial]:
        """The trials on the Pareto front of throughput, latency and size."""
        return pareto_front(self.trials)

    @property
    def best(self) -> Candidate | None:
        """The candidate to use; None if none is better than the reference."""
        return self.confirmed.candidate if not self.confirmed.problem and self._is_better() else None

    def _is_better(self) -> bool:
        reference, own = self.reference.candidate.form.size_bytes, self.confirmed.candidate.form.size_bytes
        if self.goal == "size" and own != reference:
            return own * BETTER <= reference
        return (self.confirmed.speedup if self.goal == "latency" else self.confirmed.gain) >= BETTER

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        front = {id(trial) for trial in self.front}
        return {
            "better": self.best is not None,
            "goal": self.goal,
            "load": round(self.load, 2),
            "mix": self.mix.to_json(),
            "trials": [
                {
                    **trial.to_json(),
                    "accuracy": self.accuracy.get(trial.candidate.form, Accuracy()).to_json(),
                    "pareto": id(trial) in front,
                }
                for trial in self.trials
            ],
            "confirmed": self.confirmed.to_json(),
        }
