"""The files of an advice: figures as comments, flags and batching parameters; nothing if no setting is better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.advise.files import verdict, write_advice
from serving.advise.search import Advice, Setting, Trial
from serving.bench.load import LoadFigures
from serving.client.prepared_request import PreparedRequest
from serving.config.batching import BatchingParameters

REQUEST = PreparedRequest("m", {"ids": np.zeros((2, 7), np.int64), "x": np.zeros(2, np.float32)})
BATCHED = Setting(1, 1, 64, BatchingParameters(32, 0, 20, 2))


def figures(per_second: float, *, clients: int = 64, failed: int = 0) -> LoadFigures:
    return LoadFigures("grpc://a:1", "gRPC", "m", 2, clients, 100, failed, per_second, 1, 1, 2, 3.5, 4)


def advice(gain: float, setting: Setting = BATCHED, *, failed: int = 0) -> Advice:
    loaded = Trial(setting, figures(100 * gain, failed=failed), figures(100))
    alone = Trial(setting, figures(50, clients=1), figures(49, clients=1))
    return Advice(REQUEST, (loaded,), (loaded, alone))


def test_files_have_the_figures_and_can_be_read_back(tmp_path: Path) -> None:
    flags, batching = write_advice(advice(2.0), tmp_path / "tuned")
    text = batching.read_text()
    assert BatchingParameters.from_text(text).max_batch_size == 32
    assert "     64  these          200.0      1.00      3.50" in text
    assert "the requests of a" in text and "ids" in text
    for part in ("batching: true", "max_batch_size: 32", "max_enqueued_batches: 20", "flags:\n#       tensorflow_intra_op"):
        assert f"#     {part}" in text and f"#     {part}" in flags.read_text()
    lines = [line for line in flags.read_text().splitlines() if not line.startswith("#")]
    assert lines == list(BATCHED.flags(str(batching)))
    assert "2.00 times" in verdict(advice(2.0))


@pytest.mark.parametrize(("gain", "failed"), [(1.02, 0), (0.7, 0), (3.0, 1)])
def test_nothing_is_written_if_no_setting_is_better(gain: float, failed: int, tmp_path: Path) -> None:
    result = advice(gain, failed=failed)
    assert result.best is None and not result.to_json()["better"]
    assert write_advice(result, tmp_path / "tuned") == []
    assert not (tmp_path / "tuned").exists()
    assert verdict(result).startswith("No setting serves 64 clients better")


def test_thread_settings_alone_remove_the_batching_file(tmp_path: Path) -> None:
    (tmp_path / "batching.config").write_text("max_batch_size { value: 2 }")
    (flags,) = write_advice(advice(1.5, Setting(1, 2)), tmp_path)
    assert flags.name == "server.flags"
    assert "#   serving:\n#     flags:\n#       tensorflow_intra_op_parallelism: 1\n" in flags.read_text()
    assert not (tmp_path / "batching.config").exists()
