"""An embedded server in its own process: it serves with flags, and its failure to start is explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.bench.load import Load, measure
from serving.client.prepared_request import PreparedRequest
from serving.errors import NotReadyError
from serving.launch.server_process import server_process


def test_a_server_serves_with_flags_or_explains_why_it_did_not_start(small_bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "batching.config"
    config.write_text("max_batch_size { value: 8 } num_batch_threads { value: 1 }")
    flags = ["--enable_batching=true", f"--batching_parameters_file={config}"]
    request = PreparedRequest("mlp", {"x": _input(small_bundle)})
    with server_process(small_bundle, flags) as endpoints:
        (served,) = measure([endpoints.grpc_target], request, [Load(4, 0.2)])
        assert served.failed == 0 and served.requests > 4
    config.write_text("num_batch_threads { value: 0 }")
    with pytest.raises(NotReadyError, match="num_batch_threads must be positive; was 0"), server_process(small_bundle, flags):
        pass


def _input(bundle: Path) -> np.ndarray:
    from bundler.operations.bench import bench_request
    from bundler.validation.bundle import Bundle

    return bench_request(Bundle.open(bundle)).inputs["x"]
