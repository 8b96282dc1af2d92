"""`timm:` sources, tested offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bundler.errors import SourceError
from bundler.sources import timm_model
from tests.bundler.sources.conftest import Load


def test_an_architecture_with_random_weights(load_source: Load) -> None:
    loaded = load_source("timm:test_vit", pretrained=False)
    assert str(loaded.input_specs[0]) == "x=float32[batch,3,160,160]"
    assert loaded.provenance["weights"] == "random"


@pytest.mark.slow
def test_fixed_sizes_come_from_timms_configuration_or_from_the_user(load_source: Load) -> None:
    fixed = load_source("timm:test_resnet", pretrained=False).fixed_dims
    assert "axes 2 and 3 of x are 160 and 160 (as in timm's configuration)" in fixed.explained()
    fixed = load_source("timm:test_resnet", pretrained=False, inputs=["x=float32[batch,3,64,64]"]).fixed_dims
    assert "axes 2 and 3 of x are 64 and 64 (as given)" in fixed.explained()


@pytest.mark.slow
def test_weights_from_a_file(load_source: Load, folder: Path) -> None:
    first = load_source("timm:test_resnet", pretrained=False).module
    assert isinstance(first, torch.nn.Module)
    torch.save(first.state_dict(), folder / "w.pth")
    loaded = load_source("timm:test_resnet", weights="w.pth")
    assert isinstance(loaded.module, torch.nn.Module)
    torch.testing.assert_close(loaded.module.state_dict(), first.state_dict())
    assert loaded.provenance["weights"]["file"] == "w.pth"


def test_unknown_name_suggests_similar_ones(load_source: Load) -> None:
    with pytest.raises(SourceError, match="no model 'resnet19'") as caught:
        load_source("timm:resnet19", pretrained=False)
    assert caught.value.fix is not None and "resnet18" in caught.value.fix


@pytest.mark.parametrize("kind", ["hub", "connection"])
def test_error_without_a_network_names_the_alternatives(
    load_source: Load, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    error: Exception = LocalEntryNotFoundError("offline") if kind == "hub" else ConnectionError("no route")
    timm = timm_model._import_timm()

    def unreachable(name: str, **settings: Any) -> torch.nn.Module:
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(SourceError, match="cannot be downloaded") as caught:
        load_source("timm:resnet18")
    assert caught.value.fix is not None
    assert "--weights" in caught.value.fix and "--no-pretrained" in caught.value.fix
