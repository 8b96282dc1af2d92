"""Requests of different lengths that share batches: MiniLM from token ids, with the mask made in the graph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import bundler
from bundler.demo.sentences import make
from serving import Client, RequestError
from serving.launch.server_process import server_process

CLIENTS, REQUESTS = 64, 320
SPEC = """
models:
  - name: minilm
    source: minilm.py:make
    inputs: ["input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]"]
    signatures:
      by_ids: {mask: {types: null}}
serving: {batching: true, max_batch_size: 16, batch_timeout_micros: 2000, pad_variable_length_inputs: PADS}
"""


def rows() -> list[np.ndarray]:
    """Return token ids of requests, int64 [1, tokens], of 5 to 30 tokens each, from [CLS] to [SEP]."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 31, REQUESTS)
    return [np.r_[101, rng.integers(1996, 3000, length - 2), 102][None].astype(np.int64) for length in lengths]


@pytest.mark.slow
@pytest.mark.parametrize("pads", ["true", "false"])
def test_lengths_of_64_clients_share_batches(tmp_path: Path, pads: str) -> None:
    (tmp_path / "minilm.py").write_text("from bundler.demo.sentences import make\n")
    (tmp_path / "bundle.yaml").write_text(SPEC.replace("PADS", pads))
    bundle = bundler.build(tmp_path / "bundle.yaml", out=tmp_path / "out")
    module, _ = make()
    requests = rows()

    def ask(ids: np.ndarray) -> np.ndarray | str:
        try:
            return client.predict("minilm", {"input_ids": ids}, signature="by_ids", timeout=60)["embedding"]
        except RequestError as exc:
            return exc.status or ""

    serving = bundle.path / "serving"
    flags = ["--enable_batching=true", f"--batching_parameters_file={serving}/batching.config"]
    with server_process(bundle.path, flags) as ports, Client(ports.grpc_target) as client, ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(ask, requests))
    failed = [answer for answer in answers if isinstance(answer, str)]
    if pads == "false":
        assert len(failed) > REQUESTS / 2
        assert set(failed) == {"FAILED_PRECONDITION"}
        return
    assert failed == []
    with torch.no_grad():
        for ids, answer in zip(requests[:40], answers[:40], strict=True):
            tokens = torch.from_numpy(ids)
            want = module(input_ids=tokens, attention_mask=torch.ones_like(tokens))["embedding"].numpy()
            np.testing.assert_allclose(answer, want, rtol=1e-3, atol=1e-5)
