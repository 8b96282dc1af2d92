"""Half-precision models behind a float32 signature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bundler
from bundler.errors import UsageError
from tests.bundler.adapters.networks import clients, passed_requests, smoke


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str)
def test_rest_and_grpc_speak_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = network().to(dtype)
    given = torch.linspace(-1, 1, 8).reshape(2, 4)
    options = {"cast_half": True, "tolerance": 0.02, "labels": ("a", "b", "c")}
    bundle = bundler.build(module, given.to(dtype), tmp_path / "d", name="half", **options)
    ends = (*bundle.signatures("half")["serving_default"].inputs, *bundle.signatures("half")["serving_default"].outputs)
    assert {spec.dtype for spec in ends} == {"float32"}
    name = ends[0].name
    with torch.no_grad():
        wanted = module(given.to(dtype)).float().numpy()
    with clients(bundle) as both:
        for client in both:
            (got,) = client.predict("half", {name: given.numpy()}).values()
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, wanted, atol=0.01)
            rows = client.classify("half", [{name: row} for row in given.numpy()])
            np.testing.assert_allclose([[score for _, score in row] for row in rows], wanted, atol=0.01)
    assert {"gRPC predict", "REST predict"} <= passed_requests(smoke(bundle), "serving_default")


def test_a_float32_model_has_nothing_to_cast(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cast_half has nothing to cast: .*float32"):
        bundler.build(network(), torch.zeros(2, 4), tmp_path / "d", name="m", cast_half=True)
