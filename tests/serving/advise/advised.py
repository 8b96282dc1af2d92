"""Trials and advice made of chosen figures, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serving.advise.forms import Accuracy, Candidate, Form
from serving.advise.mix import RequestMix
from serving.advise.settings import Setting
from serving.advise.trials import Advice, Comparison, Goal, Trial
from serving.bench.load import LoadFigures
from serving.client.prepared_request import PreparedRequest
from serving.config.batching import BatchingParameters

REQUEST = PreparedRequest("m", {"ids": np.zeros((2, 7), np.int64), "x": np.zeros(2, np.float32)})
FLOAT32 = Form("SavedModel", "float32", Path("dist/m"), 1000)
FAST = Form("model.tflite", "float32", Path("dist/m"), 900)
INT8 = Form("model.tflite", "int8", Path("dist/m"), 300)
BATCHED = Candidate(FLOAT32, Setting(1, 1, 64, BatchingParameters(32, 0, 20, 2)))


def figures(per_second: float, ms: float = 1.0, *, clients: int = 64, failed: int = 0) -> LoadFigures:
    failure = "the batch cannot be joined" if failed else ""
    return LoadFigures("grpc://a:1", "gRPC", "m", 2, clients, 100, failed, per_second, ms, ms, 2 * ms, 3.5 * ms, 4 * ms, failure)


def trial(candidate: Candidate, gain: float, speedup: float = 1.0, *, failed: int = 0) -> Trial:
    """Return a trial beside a reference with 100 requests/s and 1 ms for a lone client."""
    loaded = Comparison(figures(100 * gain, failed=failed), figures(100))
    return Trial(candidate, loaded, Comparison(figures(50, 1 / speedup, clients=1), figures(49, clients=1)))


def advice(
    gain: float, best: Candidate = BATCHED, *, speedup: float = 1.0, goal: Goal = "throughput", failed: int = 0
) -> Advice:
    """Return the advice of a search whose best candidate reached these figures, twice."""
    own = trial(best, gain, speedup, failed=failed)
    accuracy = {FLOAT32: Accuracy(1e-6, 119.0), best.form: Accuracy(2e-2, 43.0)}
    return Advice(RequestMix((REQUEST,)), goal, (trial(Candidate(FLOAT32, Setting()), 1.0), own), own, accuracy)
