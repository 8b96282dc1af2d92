"""Fixtures that tests of several packages share. A larger fixture belongs next to the tests that need it."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.process import garbage
from tests import onednn, preloaded
from tests.samples import mark_samples
from tests.zoo import summary as zoo

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

garbage.collect_seldom()

# A shell starts background jobs with SIGINT ignored, which children inherit; but some tests interrupt processes by SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def forked_processes() -> Iterator[None]:
    """Fork processes that import TensorFlow from one that has done so, if `make test` asks for it."""
    if os.environ.get(preloaded.ENABLED) == "1" and preloaded.is_supported():
        with preloaded.preloaded():
            yield
    else:
        yield


@pytest.fixture(scope="session")
def mlp_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a two-layer perceptron as ONNX, `x` float32 [batch, 4] -> `y` float32 [batch, 3], made without torch."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"w1": (4, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()],
    )
    path = tmp_path_factory.mktemp("onnx") / "mlp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory, mlp_onnx: Path) -> Path:
    """Return a bundle with one small model, `mlp` version 1, and a float32 TFLite file. Copy it before you change it."""
    import bundler

    out = tmp_path_factory.mktemp("dist") / "small"
    bundler.build(mlp_onnx, out=out, tflite=("float32",))
    return out


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases outside of samples as slow, before `-m "not slow"` is applied, and run the longest test first.

    At the end, one worker would wait for another that runs it.
    """
    mark_samples(items)
    items.sort(key=lambda item: "test_soak" not in item.nodeid)


def pytest_collection_finish() -> None:
    """Keep what is imported out of garbage collections, each of which would take a third of a second."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print counts at the end of a run. The hook is here because the controller of xdist loads no conftest.py of a subfolder."""
    from tests.bundler.render.kubernetes import accepted
    from tests.conformance.summary import summary
    from tests.opinfo import summary as opinfo
    from tests.serving.server import known_differences as recordings

    if agreeing := zoo.line(terminalreporter.stats):
        terminalreporter.write_line(agreeing + onednn.suffix())
    if agreeing := zoo.fast_path_line(terminalreporter.stats):
        terminalreporter.write_line(agreeing)
    for line in zoo.half_lines(terminalreporter.stats):
        terminalreporter.write_line(line)
    passed = (r.nodeid for r in terminalreporter.stats.get("passed", []) if r.when == "call")
    for number, line in enumerate(summary(passed)):
        terminalreporter.write_line(line + (onednn.suffix() if number == 0 else ""))
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name in ("house", "documents", "zero sweep", "installed"):
                terminalreporter.write_line(f"{name}: {text}" if name == "zero sweep" else text)
    for line in opinfo.lines(terminalreporter.stats):
        terminalreporter.write_line(line)
    if line := recordings.summary([r.nodeid for r in terminalreporter.stats.get("passed", []) if r.when == "call"]):
        terminalreporter.write_line(line)
    for line in accepted.lines(terminalreporter.stats):
        terminalreporter.write_line(line)
