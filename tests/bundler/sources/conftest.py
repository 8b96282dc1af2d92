"""A Python file with models as users write them, and a function that loads a source."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.sources import LoadedModel, load
from bundler.spec.bundle_spec import ModelSpec

MODEL = '''
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.first = nn.Linear(3, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))


class Models:
    small = Net


INSTANCE = Net()


def net():
    return Net()


def big():
    return Net(8)


def with_example():
    return Net(), torch.zeros(1, 3)


def with_dict():
    return Net(), {"x": torch.zeros(2, 3)}


def raises():
    values = {}
    return values["nope"]


def leaves():
    raise SystemExit("bye")


def number():
    return 3


def bad_example():
    return Net(), 5


def needs_argument(size):
    return Net(size)


NUMBER = 7
'''

Load = Callable[..., LoadedModel]


@pytest.fixture(autouse=True)
def import_path() -> Iterator[None]:
    """Remove the folders of models that tests load from sys.path again."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in ("model", "helper_of_the_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with model.py."""
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture
def load_source(folder: Path) -> Load:
    """Return a function that loads a source relative to the folder; its keywords are those of a model in bundle.yaml."""

    def load_from_folder(source: str, **settings: Any) -> LoadedModel:
        return load(ModelSpec(name="m", source=source, **settings), base=folder)

    return load_from_folder
