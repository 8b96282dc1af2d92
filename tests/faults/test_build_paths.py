"""No file of a bundle names a folder of the machine that built it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

SCRIPT = '''
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 8)
        self.second = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def make():
    torch.manual_seed(0)
    return Net(), torch.zeros(2, 4)


def accuracy(predict):
    raise ValueError(f"no data in {__file__}")
'''
BUILD = """
import sys
from pathlib import Path
import torch
import bundler
from bundler.errors import VariantsError
folder, out = Path(sys.argv[1]), sys.argv[2]
options = dict(tflite=("float32",), calibration=str(folder / "samples.npz"), gate=f"{folder}/net.py:accuracy")
try:
    bundler.build(f"{folder}/net.py:make", out=out, labels=str(folder / "labels.txt"), **options)
except VariantsError:
    pass  # the gate's message, which names its file, is recorded as the reason
sys.path.insert(0, str(folder))
import net
torch.save(net.make()[0].state_dict(), folder / "w.pt")
bundler.build(str(folder / "w.pt"), out=out, architecture=f"{folder}/net.py:make", name="weights")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder with a marker in its name, and a bundle of what is in it, built with absolute paths."""
    folder = tmp_path_factory.mktemp("outer") / "SECRET-FOLDER" / "with blank"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(SCRIPT)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    np.savez(folder / "samples.npz", x=np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32))
    (folder / "elsewhere").mkdir()
    command = [sys.executable, "-c", BUILD, str(folder), str(folder / "dist")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=folder / "elsewhere", env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, folder / "dist"


def contents(bundle: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of each file, and of each member of those that are archives."""
    for path in sorted(bundle.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(bundle).as_posix()
        yield name, name.encode() + path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    yield f"{name}:{member}", member.encode() + archive.read(member)


@pytest.mark.slow
def test_no_file_names_a_folder_of_the_build_machine(built: tuple[Path, Path]) -> None:
    folder, bundle = built
    hidden = {"SECRET-FOLDER", str(folder), sysconfig.get_path("purelib"), str(Path(__file__).parents[2])}
    if len(Path.home().parts) > 2:  # /root is a path in containers, too
        hidden.add(str(Path.home()))
    found = [(name, text) for name, data in contents(bundle) for text in hidden if text.encode() in data]
    assert found == []


@pytest.mark.slow
def test_what_was_built_is_still_named(built: tuple[Path, Path]) -> None:
    _, bundle = built
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    net = content["models"]["net"]["versions"]["1"]
    assert net["source"]["source"] == "net.py:make"
    assert net["source"]["file"] == "net.py"
    assert "no data in" in net["tflite_refused"]["float32"]["reason"]
    spec = {model["name"]: model for model in content["spec"]["models"]}
    assert spec["net"]["labels"].endswith("labels.txt") and spec["weights"]["architecture"].endswith("net.py:make")
    assert b'File "net.py", line ' in (bundle / "onnx" / "net" / "1.onnx").read_bytes()
