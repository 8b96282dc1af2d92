"""The choice of the form that a build with `optimize` serves, by measurement.

Embedded servers, one process each, serve the forms in turns with the SavedModel in float32 (`serving.advise`). The winner is
measured again, and has to be 5 % better; if it is not, the SavedModel in float32 is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundler.values.reference import ReferenceOutputs
from serving.advise.files import serving_section
from serving.advise.forms import Accuracy, Candidate, Form
from serving.advise.mix import RequestMix
from serving.advise.search import Plan, advise
from serving.advise.settings import Setting
from serving.advise.trials import BETTER, Advice, Goal, Trial
from serving.client.prepared_request import PreparedRequest
from serving.errors import ServingError
from serving.golden.data import batch_size
from serving.server.config.options import cores

CLIENTS_PER_CORE = 2
"""Concurrent clients for the goals throughput and size: enough to keep every core busy."""

SECONDS = 1.0
"""How long each form is loaded; the winner twice as long again."""


@dataclass(frozen=True)
class MadeForm:
    """A form that passed its gate.

    Attributes:
        form: what is served.
        accuracy: how well it answers, as its gate measured.
    """

    form: Form
    accuracy: Accuracy


@dataclass(frozen=True)
class Choice:
    """The result of the measurement.

    Attributes:
        goal: what was chosen by.
        winner: the form and the setting to serve.
        trials: all trials.
        left_out: why forms took no part, by form.
        accuracy: the accuracy of each form.
        front: the trials on the Pareto front.
        problem: why nothing could be measured; empty if it could.
    """

    goal: Goal
    winner: Candidate
    trials: tuple[Trial, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    accuracy: Mapping[Form, Accuracy] = field(default_factory=dict)
    front: tuple[Trial, ...] = ()
    problem: str = ""

    @property
    def serving(self) -> dict[str, Any]:
        """The keys of the section `serving` that serve the winner; the form itself is the model's own setting."""
        section = serving_section(self.winner)
        clients = {"clients": section["clients"]} if "clients" in section else {}
        return {"mixed_precision": section.get("mixed_precision"), **clients}

    @property
    def model(self) -> dict[str, Any]:
        """The keys of the model that serve the winner."""
        form = self.winner.form
        return {"fast_path": form.fast_path} if form.is_tflite else {"precision": form.precision, "fast_path": False}

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        front = [id(trial) for trial in self.front]
        return {
            "goal": self.goal,
            "winner": str(self.winner.form),
            "rows": [self._row(trial, is_front=id(trial) in front) for trial in self.trials],
            "left_out": dict(self.left_out),
            **({"problem": self.problem} if self.problem else {}),
        }

    def _row(self, trial: Trial, *, is_front: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"form": str(trial.candidate.form), "setting": str(trial.candidate.setting), "pareto": is_front}
        row |= {"size_bytes": trial.candidate.form.size_bytes}
        row |= {"accuracy": self.accuracy.get(trial.candidate.form, Accuracy()).to_json()}
        if trial.problem or not trial.loaded or not trial.lone:
            return {**row, "problem": trial.problem}
        return {
            **row,
            "clients": trial.loaded.figures.concurrency,
            "per_second": round(trial.loaded.figures.per_second, 2),
            "p99_ms": round(trial.loaded.figures.p99_ms, 3),
            "alone_ms": round(trial.lone.figures.p50_ms, 4),
            "gain": round(trial.gain, 3),
            "speedup": round(trial.speedup, 3),
        }

    def notices(self, model: str) -> Iterator[str]:
        """Yield which form is served, and why others are not."""
        if self.problem:
            yield f"{model}: the float32 SavedModel is served, because its forms could not be measured: {self.problem}"
        elif not self.winner.form.is_tflite and not self.winner.form.is_lower:
            yield f"{model}: the float32 SavedModel is served; no other form that passed its gate is better in {self.goal}."
        else:
            yield f"{model}: {self.winner.form} is served, the best in {self.goal}."
        for form, reason in self.left_out.items():
            yield f"{model}: {form} took no part: {reason}"


def choose(
    goal: Goal, forms: Sequence[MadeForm], request: PreparedRequest, left_out: Mapping[str, str]
) -> Choice:
    """Measure forms, and choose one.

    Args:
        goal: what the form is chosen by.
        forms: the forms; the SavedModel in float32 comes first.
        request: the request that is sent.
        left_out: why other forms take no part, by form.
    """
    accuracy = {made.form: made.accuracy for made in forms}
    clients = 1 if goal == "latency" else CLIENTS_PER_CORE * cores()
    plan = Plan(clients, goal, SECONDS, flags=("--allow_unsafe_ops=true",), tunes=False)
    stays = Candidate(forms[0].form, Setting() if goal == "latency" else Setting(intra=1))
    if len(forms) == 1:
        return Choice(goal, stays, left_out=left_out, accuracy=accuracy)
    try:
        advice = advise([made.form for made in forms], RequestMix((request,)), plan, lambda form, _: accuracy[form])
    except ServingError as exc:
        return Choice(goal, stays, left_out=left_out, accuracy=accuracy, problem=exc.what)
    winner = advice.best if advice.best and _beats_the_first_form(advice) else stays
    return Choice(goal, winner, advice.trials, left_out, accuracy, tuple(advice.front))


def _beats_the_first_form(advice: Advice) -> bool:
    """Return whether the best form is another one than the first, and better than that with its own best setting, too."""
    first, confirmed = advice.reference.candidate.form, advice.confirmed
    if confirmed.candidate.form == first:
        return False
    own = [trial for trial in advice.trials if trial.candidate.form == first]
    if advice.goal == "latency":
        return confirmed.speedup >= BETTER * max(trial.speedup for trial in own)
    return advice.goal == "size" or confirmed.gain >= BETTER * max(trial.gain for trial in own)


def golden_request(model: str, reference: ReferenceOutputs, permutations: Mapping[str, Sequence[int]]) -> PreparedRequest:
    """Return the smallest call of the parity check as a request, without the expected answer: the gates have judged it."""
    case = min(reference.cases, key=lambda case: batch_size(case.inputs))
    return PreparedRequest(model, reference.to_served(case.inputs, permutations), reference.exported.name)
