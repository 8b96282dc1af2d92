"""Search for the form and the settings that serve a model best on this machine, by measuring embedded servers.

1. A reference server runs throughout: the first form without flags. Each candidate gets its own server beside it, and the two
   are loaded in turns: a disturbance of the machine affects both, and a candidate is judged by the ratio.
2. Each form is tried with the setting that usually serves best. Its answers to the golden calls are judged first, and a form
   that is not accurate enough, or that does not run here, is left out.
3. The threads and batches of the best form are tuned, and those of the second best, if it is not too far behind.
4. The best candidate is measured again, for longer, because the best of many measurements is partly luck.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.advise.forms import Accuracy, Candidate, Form
from serving.advise.mix import RequestMix
from serving.advise.settings import (
    Demand,
    Setting,
    first_setting,
    layout_settings,
    size_settings,
    thread_settings,
    waiting,
)
from serving.advise.trials import Advice, Comparison, Goal, Trial, best_of
from serving.bench.load import Load, LoadFigures, measure
from serving.errors import ServingError
from serving.launch.server_process import server_process

TUNED = 2
"""Forms whose settings are tuned."""

BEHIND = 0.6
"""A second form is tuned if it reaches this share of what the best form reaches with its first setting."""

SHORTER = 3
"""A lone client is measured for this fraction of the time of all clients."""

Judge = Callable[[Form, str], Accuracy]
"""A function from a form and the `host:port` of its server to its accuracy."""


@dataclass(frozen=True)
class Plan:
    """How a search is made.

    Attributes:
        clients: number of concurrent clients; each sends its next request when the last one is answered.
        goal: what the best candidate is chosen by.
        seconds: how long each server is loaded for a candidate.
        pads: whether the model's answers to padded inputs are right, so that requests of other lengths can share a batch.
        flags: flags that all servers get, whatever their candidate.
        tunes: whether settings are tuned; if not, only the forms are compared.
    """

    clients: int
    goal: Goal = "throughput"
    seconds: float = 3.0
    pads: bool = False
    flags: tuple[str, ...] = ()
    tunes: bool = True

    @property
    def loads(self) -> list[Load]:
        """The loads of a candidate: all clients, and a lone one."""
        if self.clients == 1:
            return [Load(1, self.seconds)]
        return [Load(self.clients, self.seconds), Load(1, self.seconds / SHORTER)]

    @property
    def longer(self) -> list[Load]:
        """The loads of the best candidate, when it is measured again."""
        return [Load(load.concurrency, 2 * load.seconds) for load in self.loads]

    def most_trials(self, forms: int) -> int:
        """Return how many candidates are tried at most."""
        tuned = 9 if self.clients > 1 and self.goal != "latency" else 3
        return forms + (min(forms, TUNED if self.goal != "size" else 1) * tuned if self.tunes else 0) + 1

    def seconds_at_most(self, forms: int, start: float) -> float:
        """Return how long a search takes at most, if a server takes `start` seconds to start."""
        loads = 2 * sum(load.seconds for load in self.loads)
        return (self.most_trials(forms) + 1) * (loads + start)


class Watcher:
    """Is told how a search proceeds. The base class ignores it."""

    def started(self, trials: int, seconds: float) -> None:
        """Take note of how many candidates are tried and how many seconds that takes, at most."""

    def tried(self, trial: Trial) -> None:
        """Take note of a trial that is done."""


def advise(forms: Sequence[Form], mix: RequestMix, plan: Plan, judge: Judge, watcher: Watcher | None = None) -> Advice:
    """Try forms of a model, and settings for the best ones.

    Args:
        forms: the forms; the first one is the reference.
        mix: the requests that the clients send.
        plan: the load, the goal and the time.
        judge: measures the accuracy of a form that is served.
        watcher: is told of each step.

    Raises:
        NotReadyError: the server of the first form does not start.
        ServingError: it does not answer the first request, or its answer is wrong; see `serving.bench.load.measure`.
    """
    load = os.getloadavg()[0]
    watcher = watcher or Watcher()
    reference = Candidate(forms[0], Setting())
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _serve(reference, plan, Path(folder)) as baseline:
        measure([baseline], mix.requests, [])
        watcher.started(plan.most_trials(len(forms)), plan.seconds_at_most(len(forms), time.monotonic() - begin))
        rig = _Rig(baseline, mix, plan, judge, watcher, Path(folder))
        rig.try_forms(forms)
        if plan.tunes:
            for form in rig.forms_to_tune():
                rig.tune(form)
        confirmed = rig.measure(best_of(rig.trials, plan.goal).candidate, plan.longer)
    return Advice(mix, plan.goal, tuple(rig.trials), confirmed, rig.accuracy, load)


@contextmanager
def _serve(candidate: Candidate, plan: Plan, folder: Path) -> Iterator[str]:
    file = folder / "batching.config"
    if candidate.setting.batching:
        file.write_text(candidate.setting.batching.to_text(), "utf-8")
    flags = (*plan.flags, *candidate.form.explicit_flags, *candidate.setting.flags(str(file)))
    with server_process(candidate.form.source, flags) as endpoints:
        yield endpoints.grpc_target


class _Rig:
    """Compares one server at a time with the running reference.

    Args:
        baseline: `host:port` of the reference server.
        mix: the requests.
        plan: the load, the goal and the time.
        judge: measures the accuracy of a form that is served.
        watcher: is told of each trial.
        folder: where the batching parameters are written.

    Attributes:
        trials: all trials, the reference first.
        accuracy: the accuracy of each form.
    """

    def __init__(
        self, baseline: str, mix: RequestMix, plan: Plan, judge: Judge, watcher: Watcher, folder: Path
    ) -> None:
        self._baseline, self._mix, self._plan = baseline, mix, plan
        self._judge, self._watcher, self._folder = judge, watcher, folder
        self.trials: list[Trial] = []
        self.accuracy: dict[Form, Accuracy] = {}

    @property
    def _demand(self) -> Demand:
        clients = 1 if self._plan.goal == "latency" else self._plan.clients
        return self._mix.demand(clients, pads=self._plan.pads)

    def try_forms(self, forms: Sequence[Form]) -> None:
        """Try each form with the setting that usually serves best, after the reference."""
        self.accuracy[forms[0]] = self._judge(forms[0], self._baseline)
        self._try(Candidate(forms[0], Setting()))
        for form in forms:
            self._try(Candidate(form, first_setting(self._demand, tflite=form.is_tflite)))

    def forms_to_tune(self) -> list[Form]:
        """Return the forms that are worth it: the best one, and those that are not far behind."""
        goal = self._plan.goal
        best: dict[Form, Trial] = {}
        for trial in self.trials:
            form = trial.candidate.form
            best[form] = best_of([trial, *([best[form]] if form in best else [])], goal)
        sound = [trial for trial in best.values() if not trial.problem]
        ranked = sorted(sound, key=lambda trial: trial.score(goal), reverse=True)
        if goal == "size":
            return [trial.candidate.form for trial in ranked[:1]]
        return [trial.candidate.form for trial in ranked[:TUNED] if trial.score(goal)[0] >= BEHIND * ranked[0].score(goal)[0]]

    def tune(self, form: Form) -> None:
        """Try settings of threads and batches for a form."""
        demand, tflite = self._demand, form.is_tflite
        for setting in thread_settings(demand, tflite=tflite):
            self._try(Candidate(form, setting))
        if demand.clients == 1 or not self._mix.joinable:
            return
        batched = [self._try(Candidate(form, setting)) for setting in layout_settings(demand, tflite=tflite)[:1]]
        if batched[0].problem:
            return  # a batch of these requests fails, whatever its size
        batched += [self._try(Candidate(form, setting)) for setting in layout_settings(demand, tflite=tflite)[1:]]
        best = best_of(batched, self._plan.goal).candidate.setting
        batched += [self._try(Candidate(form, setting)) for setting in size_settings(best, demand)]
        self._try(Candidate(form, waiting(best_of(batched, self._plan.goal).candidate.setting)))

    def _try(self, candidate: Candidate) -> Trial:
        """Measure a candidate, unless that was done already."""
        for trial in self.trials:
            if trial.candidate == candidate:
                return trial
        trial = self.measure(candidate, self._plan.loads)
        self.trials.append(trial)
        self._watcher.tried(trial)
        return trial

    def measure(self, candidate: Candidate, loads: Sequence[Load]) -> Trial:
        """Return the figures of a candidate, or the reason why there are none."""
        try:
            with _serve(candidate, self._plan, self._folder) as target:
                if candidate.form not in self.accuracy:
                    self.accuracy[candidate.form] = self._judge(candidate.form, target)
                if problem := self.accuracy[candidate.form].problem:
                    return Trial(candidate, failure=problem)
                figures = measure([self._baseline, target], self._mix.unchecked(), loads)
        except ServingError as exc:
            return Trial(candidate, failure=exc.what)
        loaded, lone = _comparisons(figures)
        return Trial(candidate, loaded, lone)


def _comparisons(figures: Sequence[LoadFigures]) -> tuple[Comparison, Comparison]:
    """Return the comparison under the first load and that under the last one; each load has the reference's figures first."""
    pairs = [Comparison(own, baseline) for baseline, own in zip(figures[::2], figures[1::2], strict=True)]
    return pairs[0], pairs[-1]
