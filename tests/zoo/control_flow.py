"""Branches and loops that depend on the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

from tests.zoo.entry import Built, Entry

FAMILY = "control flow"


class Branches(nn.Module):
    """torch.cond: a deep branch for inputs with a large mean, a shallow one for others, and a branch inside a branch."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.deep = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, width))
        self.shallow = nn.Linear(width, width)
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        def damped(y: Tensor) -> Tensor:
            return self.deep(y) * 0.5

        def deep(y: Tensor) -> Tensor:
            return torch.cond(y.square().mean() > 1, damped, self.deep, (y,))

        return torch.cond(self.gate(x).mean() > 0, deep, self.shallow, (x,))


class Iterate(nn.Module):
    """while_loop: a contraction, iterated at most 30 times until the change is below a threshold."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.step = nn.Linear(width, width)
        with torch.no_grad():
            self.step.weight.mul_(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def condition(count: Tensor, state: Tensor, change: Tensor) -> Tensor:
            return (count < 30) & (change.max() > 1e-2)

        def body(count: Tensor, state: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            new = torch.tanh(self.step(state)) + x * 0.1
            return count + 1, new, (new - state).abs()

        count, state, _ = while_loop(condition, body, (torch.tensor(0), x * 1.0, torch.ones_like(x)))
        return state, count


class Recurrence(nn.Module):
    """scan: a gated linear recurrence over time, as in state-space models, with all states and the last one as outputs."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.decay = nn.Linear(width, width)
        self.enter = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def combine(state: Tensor, step: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            decay, entering = step
            new = decay * state + (1 - decay) * entering
            return new, new * 1.0

        gates = torch.sigmoid(self.decay(x)).transpose(0, 1)
        last, states = scan(combine, torch.zeros(x.shape[0], x.shape[2]), (gates, self.enter(x).transpose(0, 1)))
        return last, states.transpose(0, 1)


class NeuralOde(nn.Module):
    """A differential equation with a network as right-hand side, solved by eight Runge-Kutta steps of fourth order."""

    def __init__(self, width: int = 6, steps: int = 8) -> None:
        super().__init__()
        self.rate = nn.Sequential(nn.Linear(width + 1, 24), nn.Softplus(), nn.Linear(24, width))
        self.steps = steps

    def forward(self, state: Tensor, duration: Tensor) -> Tensor:
        step = duration / self.steps
        for index in range(self.steps):
            time = index * step
            a = self._rate(state, time)
            b = self._rate(state + step / 2 * a, time + step / 2)
            c = self._rate(state + step / 2 * b, time + step / 2)
            d = self._rate(state + step * c, time + step)
            state = state + step / 6 * (a + 2 * b + 2 * c + d)
        return state

    def _rate(self, state: Tensor, time: Tensor) -> Tensor:
        return self.rate(torch.cat([state, time], 1))


class Experts(nn.Module):
    """A mixture of experts: each token goes to its two best experts, weighted by a softmax over the two."""

    def __init__(self, width: int = 16, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width)) for _ in range(experts)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, chosen = self.router(x).topk(2, -1)
        weights = torch.zeros_like(self.router(x)).scatter(-1, chosen, scores.softmax(-1))
        mixed = torch.stack([expert(x) for expert in self.experts], -1) @ weights[..., None]
        return mixed[..., 0], chosen


def rows(module: nn.Module) -> Built:
    return module, {"x": torch.randn(2, 8)}, {}


def recurrence() -> Built:
    return Recurrence(), {"x": torch.randn(2, 10, 8)}, {"x": {1: "time"}}


def ode() -> Built:
    return NeuralOde(), {"state": torch.randn(2, 6), "duration": torch.rand(2, 1) + 0.5}, {}


def experts() -> Built:
    return Experts(), {"x": torch.randn(2, 10, 16)}, {"x": {1: "seq"}}


ENTRIES = (
    Entry("cond", FAMILY, lambda: rows(Branches()), fast=True, saved=True),
    Entry("while_loop", FAMILY, lambda: rows(Iterate()), saved=True),
    Entry("scan", FAMILY, recurrence, saved=True),
    Entry("neural_ode", FAMILY, ode),
    Entry("mixture_of_experts", FAMILY, experts),
)
