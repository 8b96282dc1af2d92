"""Half-precision models with float32 inputs and outputs."""

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
def test_rest_and_grpc_clients_send_and_get_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = network().to(dtype)
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    options = {"cast_half": True, "tolerance": 0.02, "labels": ("a", "b", "c")}
    bundle = bundler.build(module, x.to(dtype), tmp_path / "d", name="half", **options)
    signature = bundle.signatures("half")["serving_default"]
    assert {spec.dtype for spec in (*signature.inputs, *signature.outputs)} == {"float32"}
    (name,) = signature.input_names
    with torch.no_grad():
        expected = module(x.to(dtype)).float().numpy()
    with clients(bundle) as both:
        for client in both:
            (got,) = client.predict("half", {name: x.numpy()}).values()
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, atol=0.01)
            rows = client.classify("half", [{name: row} for row in x.numpy()])
            np.testing.assert_allclose([[score for _, score in row] for row in rows], expected, atol=0.01)
    assert {"gRPC predict", "REST predict"} <= passed_requests(smoke(bundle), "serving_default")


def test_cast_half_is_refused_for_a_float32_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cast_half has nothing to cast: .*float32"):
        bundler.build(network(), torch.zeros(2, 4), tmp_path / "d", name="m", cast_half=True)


def normalized_convolution() -> nn.Module:
    """torch's optimizer folds BatchNorm into the convolution, in bfloat16 with weights of float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
        return nn.Sequential(*layers).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "cast_half"),
    [
        ("bfloat16", False),
        pytest.param("bfloat16", True, marks=pytest.mark.slow),
        pytest.param("float16", False, marks=pytest.mark.slow),
        pytest.param("float16", True, marks=pytest.mark.slow),
    ],
)
def test_a_normalized_convolution_in_half_precision_builds_with_the_default_tolerance(
    dtype: str, cast_half: bool, tmp_path: Path
) -> None:
    kind = getattr(torch, dtype)
    bundle = bundler.build(
        normalized_convolution().to(kind), torch.rand(2, 1, 8, 8).to(kind), tmp_path / "d", name="m", cast_half=cast_half
    )
    parity = bundle.manifest.models["m"][1]["parity"]
    assert parity["tolerance"] >= {"bfloat16": 4 * 2**-7, "float16": 4 * 2**-10}[dtype]
    assert parity["tolerance_basis"].startswith(f"{dtype}: ")
    signature = bundle.signatures("m")["serving_default"]
    assert {spec.dtype for spec in (*signature.inputs, *signature.outputs)} == {"float32" if cast_half else dtype}
    assert bundle.verify() == []
