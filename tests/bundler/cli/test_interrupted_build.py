"""A build that is stopped by Ctrl-C, SIGTERM or kill -9 at several stages leaves nothing partial, and the next one works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundler import Bundle
from bundler.bundle.layout import BundleLayout
from bundler.bundle.staging import PREFIX


def stopped(source: Path, out: Path, after: str, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Build in a process that gets the signal as soon as it reports the end of the stage `after`."""
    command = [sys.executable, "-m", "bundler", "build", str(source), "-o", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    log = ""
    for line in child.stderr:
        log += line
        if after in line:
            child.send_signal(number)
            break
    stdout, stderr = child.communicate(timeout=120)
    return subprocess.CompletedProcess(command, child.returncode, stdout, log + stderr)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("after", "number", "code", "word"),
    [
        pytest.param("load the model", signal.SIGINT, 130, "Interrupted", marks=pytest.mark.slow),
        ("write the SavedModel", signal.SIGINT, 130, "Interrupted"),
        ("convert to TensorFlow", signal.SIGTERM, 143, "Terminated"),
    ],
)
def test_ctrl_c_and_sigterm_leave_nothing(
    mlp_onnx: Path, tmp_path: Path, after: str, number: signal.Signals, code: int, word: str
) -> None:
    done = stopped(mlp_onnx, tmp_path / "x", after, number)
    assert done.returncode == code, done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == f"error: {word}: nothing was published; {tmp_path / 'x'} is unchanged."
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_kill_9_leaves_no_version_and_the_next_build_cleans_up(mlp_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    for after in ("export to ONNX", "write the SavedModel", "write configs, manifests, report"):
        done = stopped(mlp_onnx, out, after, signal.SIGKILL)
        assert done.returncode == -signal.SIGKILL
        versions = BundleLayout(out).versions("mlp")
        if versions:  # the last signal may come after everything is published
            assert after == "write configs, manifests, report"
            assert Bundle.open(out).verify(parity=False) == []
    command = [sys.executable, "-m", "bundler", "build", str(mlp_onnx), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert not list(out.glob(f"{PREFIX}*"))
    bundle = Bundle.open(out)
    assert bundle.versions("mlp")[-1] == len(bundle.versions("mlp"))
    assert bundle.verify() == []


@pytest.mark.slow
def test_an_interrupt_within_a_del_is_not_lost() -> None:
    """Python prints an exception of a __del__ and goes on."""
    code = """
import sys, time
from bundler import cli
sys.unraisablehook = cli._keep_interrupt
class Value:
    def __del__(self):
        raise KeyboardInterrupt
try:
    Value()
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


INTERRUPTING = '''
import os, signal, time
import torch

def interrupt():
    """Send Ctrl-C to this process while torch exports, and let the handler run."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

@torch.library.custom_op("interrupting::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@double.register_fake
def _(x):
    interrupt()
    return torch.empty_like(x)

class Plain(torch.nn.Module):
    def forward(self, x):
        interrupt()
        return x + 1

class Wrapped(torch.nn.Module):
    def forward(self, x):
        try:
            interrupt()
        except KeyboardInterrupt:
            raise RuntimeError("Caught an unknown exception!") from None
        return x + 1

class Swallowed(torch.nn.Module):
    def forward(self, x):
        try:
            interrupt()
        except:
            pass
        return x + 1

class Custom(torch.nn.Module):
    def forward(self, x):
        return double(x)

def plain(): return Plain(), torch.ones(2, 3)
def wrapped(): return Wrapped(), torch.ones(2, 3)
def swallowed(): return Swallowed(), torch.ones(2, 3)
def custom(): return Custom(), torch.ones(2, 3)
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "opset"),
    [
        ("wrapped", "20"),
        *(
            pytest.param(model, opset, marks=pytest.mark.slow)
            for model, opset in [("plain", "20"), ("swallowed", "20"), ("custom", "20"), ("plain", "17"), ("wrapped", "17")]
        ),
    ],
)
def test_ctrl_c_during_torchs_export_is_an_interruption_and_leaves_nothing(tmp_path: Path, model: str, opset: str) -> None:
    """Opset 20 goes through torch's dynamo exporter, and 17 through its TorchScript exporter; both may wrap the exception."""
    (tmp_path / "model.py").write_text(INTERRUPTING)
    command = [sys.executable, "-m", "bundler", "build", f"model.py:{model}", "-o", "out", "--opset", opset]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "error: Interrupted: nothing was published; out is unchanged."
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["model.py"]
