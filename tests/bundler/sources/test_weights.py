"""State dicts, checkpoints and safetensors with an architecture, and pickles that would run code."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bundler.errors import SourceError, UsageError
from tests.bundler.sources.conftest import Load

SETTINGS: dict[str, Any] = {"architecture": "model.py:net", "inputs": ("x=float32[batch,3]",)}


@pytest.fixture
def state(load_source: Load) -> dict[str, torch.Tensor]:
    module = load_source("model.py:net", inputs=SETTINGS["inputs"]).module
    assert isinstance(module, torch.nn.Module)
    return dict(module.state_dict())


def assert_loaded(loaded: Any, state: dict[str, torch.Tensor]) -> None:
    actual = loaded.module.state_dict()
    assert list(actual) == list(state)
    for key, value in state.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_state_dict(load_source: Load, folder: Path, state: dict[str, torch.Tensor], suffix: str) -> None:
    torch.save(state, folder / f"w.{suffix}")
    loaded = load_source(f"w.{suffix}", **SETTINGS)
    assert_loaded(loaded, state)
    assert loaded.provenance["file"] == f"w.{suffix}"
    assert loaded.provenance["architecture"]["file"] == "model.py"


def test_safetensors(load_source: Load, folder: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / "w.safetensors")
    assert_loaded(load_source("w.safetensors", **SETTINGS), state)


def test_training_checkpoint_of_a_parallel_model(
    load_source: Load, folder: Path, state: dict[str, torch.Tensor]
) -> None:
    parallel = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": parallel, "optimizer": {"lr": 0.1}}, folder / "c.pt")
    assert_loaded(load_source("c.pt", **SETTINGS), state)


def test_weights_without_an_architecture_are_an_error(load_source: Load, folder: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, folder / "w.pt")
    with pytest.raises(UsageError) as caught:
        load_source("w.pt", inputs=SETTINGS["inputs"])
    assert caught.value.fix is not None and "--architecture" in caught.value.fix


def test_all_different_shapes_are_listed(load_source: Load, folder: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, folder / "w.pt")
    with pytest.raises(SourceError, match="do not belong to Net") as caught:
        load_source("w.pt", architecture="model.py:big", inputs=SETTINGS["inputs"])
    assert "first.weight: file [4, 3], module [8, 3]" in caught.value.what
    assert "second.weight: file [2, 4], module [2, 8]" in caught.value.what


def test_all_missing_and_unknown_keys_are_listed(
    load_source: Load, folder: Path, state: dict[str, torch.Tensor]
) -> None:
    del state["first.bias"], state["norm.running_var"]
    torch.save({**state, "extra.weight": torch.zeros(1)}, folder / "w.pt")
    with pytest.raises(SourceError) as caught:
        load_source("w.pt", **SETTINGS)
    assert "missing in the file (2): first.bias; norm.running_var" in caught.value.what
    assert "not in the module (1): extra.weight" in caught.value.what


@pytest.mark.parametrize(("content", "what"), [([1, 2], "contains a list"), ({"lr": 1.0}, "contains a dict with the keys lr")])
def test_content_other_than_a_state_dict_is_an_error(load_source: Load, folder: Path, content: Any, what: str) -> None:
    torch.save(content, folder / "w.pt")
    with pytest.raises(SourceError, match=what):
        load_source("w.pt", **SETTINGS)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_file_is_an_error(load_source: Load, folder: Path, state: dict[str, torch.Tensor], share: float) -> None:
    torch.save(state, folder / "whole.pt")
    data = (folder / "whole.pt").read_bytes()
    (folder / "w.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"w\.pt is damaged"):
        load_source("w.pt", **SETTINGS)


@pytest.mark.parametrize("data", [b"", b"hello world" * 30, b"PK\x03\x04junk"])
def test_file_of_another_kind_is_an_error(load_source: Load, folder: Path, data: bytes) -> None:
    for name in ("w.pt", "w.safetensors"):
        (folder / name).write_bytes(data)
        with pytest.raises(SourceError, match="is damaged"):
            load_source(name, **SETTINGS)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickle_that_runs_code_is_rejected_and_not_run(load_source: Load, folder: Path) -> None:
    torch.save({"w": torch.zeros(1), "bomb": Bomb(folder / "ran")}, folder / "w.pt")
    with pytest.raises(SourceError, match="could run any code") as caught:
        load_source("w.pt", **SETTINGS)
    assert caught.value.fix is not None and "--trust-pickle" in caught.value.fix
    assert not (folder / "ran").exists()


def test_plain_pickle_that_runs_code_is_rejected_and_not_run(load_source: Load, folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps(Bomb(folder / "ran")))
    with pytest.raises(SourceError):
        load_source("w.pt", **SETTINGS)
    assert not (folder / "ran").exists()


@pytest.fixture
def importable(folder: Path) -> Path:
    sys.path.insert(0, str(folder))
    return folder


def test_whole_pickled_module_needs_trust(load_source: Load, importable: Path) -> None:
    import model

    torch.save(model.Net(), importable / "whole.pt")
    with pytest.raises(SourceError, match=r"model\.Net") as caught:
        load_source("whole.pt", inputs=SETTINGS["inputs"])
    assert caught.value.fix is not None and "--trust-pickle" in caught.value.fix
    loaded = load_source("whole.pt", inputs=SETTINGS["inputs"], trust_pickle=True)
    assert loaded.provenance["class"] == "Net"


def test_trusted_pickle_without_its_code_is_an_error(load_source: Load, importable: Path) -> None:
    import model

    torch.save(model.Net(), importable / "whole.pt")
    sys.path.remove(str(importable))
    sys.modules.pop("model")
    with pytest.raises(SourceError, match="cannot be unpickled") as caught:
        load_source("whole.pt", inputs=SETTINGS["inputs"], trust_pickle=True)
    assert caught.value.fix is not None and "state_dict" in caught.value.fix


def test_exported_program_with_a_pickle_that_runs_code_is_rejected(load_source: Load, folder: Path) -> None:
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(2, 3),))
    torch.export.save(program, folder / "good.pt2")
    bomb = folder / "bomb.bin"
    torch.save(Bomb(folder / "ran"), bomb)
    with zipfile.ZipFile(folder / "good.pt2") as good, zipfile.ZipFile(folder / "bad.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, bomb.read_bytes() if "sample_inputs" in name else good.read(name))
    with pytest.raises(SourceError, match="could run any code") as caught:
        load_source("bad.pt2")
    assert "sample_inputs" in caught.value.what
    assert not (folder / "ran").exists()
