"""Small models and embedded servers for the tests of adapters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from bundler.operations.smoke import served_golden_files
from bundler.validation.bundle import Bundle
from serving import Client
from serving.launch.server_process import server_process
from serving.smoke.run import SmokeReport, run


class Flowers(nn.Module):
    """Maps measures, float32 [batch, 4], to logits, float32 [batch, 3]; `embed` returns a vector and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5000)  # 80 KB: a variable
        self.head, self.last = nn.Linear(5000, 3), nn.Linear(5000, 1)

    def forward(self, measures: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.body(measures).tanh())}

    def embed(self, measures: Tensor) -> dict[str, Tensor]:
        hidden = self.body(measures).tanh()
        return {"vector": hidden, "length": self.last(hidden)}


def flowers() -> Flowers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Flowers().eval()


@contextmanager
def clients(bundle: Bundle) -> Iterator[tuple[Client, Client]]:
    """Yield a gRPC client and a REST client of an embedded server that runs in its own process."""
    with server_process(bundle.path) as ports, Client(ports.grpc_target) as grpc, Client(ports.rest_target) as rest:
        yield grpc, rest


def smoke(bundle: Bundle) -> SmokeReport:
    """Smoke-test the bundle's golden data on an embedded server, over gRPC and REST."""
    with server_process(bundle.path) as ports:
        return run(ports.grpc_target, served_golden_files(bundle), rest=ports.rest_target)


def passed_requests(report: SmokeReport, signature: str) -> set[str]:
    """Return the kinds of requests to a signature, such as `gRPC classify`; assert that none failed."""
    assert report.passed, [str(check) for check in report.failures]
    words = [(check.over, *check.what.split()) for check in report.checks if check.outcome == "passed"]
    return {f"{over} {verb}" for over, verb, *rest in words if rest and rest[0] == signature and verb != "metadata"}


def saved_model(bundle: Bundle, model: str) -> Path:
    return bundle.layout.version_dir(model, 1)
