"""Config files as text protos: each is read or refused, by the server too, which polls one that changes all the time."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from bundler.errors import TfbundleError
from serving.config.batching import BatchingParameters
from serving.config.model_server import ModelServerConfig
from serving.config.monitoring import MonitoringConfig
from serving.errors import ServingError
from serving.protocol.status import StatusError
from serving.server.config.files import read_config
from tests.faults.fuzz.fuzzing import (
    HOSTILE_NUMBERS,
    Fuzzer,
    Sandbox,
    assert_harmless,
    bounded_memory,
    budgets,
    damaged,
    hostile,
)
from tests.faults.fuzz.servers import assert_right
from tests.faults.victim import config_text, victim

KINDS = {b"m": ModelServerConfig, b"b": BatchingParameters, b"p": MonitoringConfig}
TEXTS = {
    b"m": b"""model_config_list {
  config {
    name: "m" base_path: "/models/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    logging_config { log_collector_config { type: "x" filename_prefix: "y" } sampling_config { sampling_rate: 0.1 } }
  }
  config { name: "n" base_path: "/models/n" model_platform: "tensorflow" model_version_policy { latest { num_versions: 2 } } }
}
""",
    b"b": b"""max_batch_size { value: 32 } batch_timeout_micros { value: 1000 } max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 } allowed_batch_sizes: 1 allowed_batch_sizes: 32 pad_variable_length_inputs: true
enable_large_batch_splitting { value: true } max_execution_batch_size { value: 32 }
""",
    b"p": b'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n',
}
WORDS = (
    b"{", b"}", b"[", b"]", b"<", b">", b":", b";", b",", b'"', b"'", b"#", b"\n", b"\\", b"\\x", b"\\u", b"\\777", b"any",
    b"true", b"inf", b"-", b"model_config_list", b"version_labels", b"custom_model_config",
    b"[type.googleapis.com/tensorflow.serving.X]",
)  # fmt: skip


def mutant(text: bytes, rng: random.Random) -> bytes:
    """Return a text proto with tokens exchanged, doubled, nested or damaged."""
    if rng.random() < 0.3:
        return damaged(text, rng, list(TEXTS.values()))
    tokens = text.replace(b"{", b" { ").replace(b"}", b" } ").split()
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(tokens))
        kind = rng.randrange(6)
        if kind == 0:
            tokens[at] = str(rng.choice(HOSTILE_NUMBERS)).encode()
        elif kind == 1:
            tokens[at] = b'"' + hostile(rng).encode("utf-8", "surrogatepass").replace(b'"', b'\\"') + b'"'
        elif kind == 2:
            tokens[at] = rng.choice(WORDS)
        elif kind == 3:
            tokens[at:at] = tokens[at : at + rng.randrange(8)]
        elif kind == 4:
            tokens[at:at] = [b"{"] * rng.choice((1, 500, 20_000))
        else:
            del tokens[at]
    return b" ".join(tokens)


@pytest.mark.filterwarnings("ignore:(decoding with|invalid escape):DeprecationWarning")  # protobuf's, on an escape like \\&
@budgets()
def test_every_text_proto_is_read_or_refused(seconds: float, sandbox: Sandbox) -> None:
    file = sandbox.work / "file.config"

    def check(data: bytes) -> None:
        kind, text = KINDS[data[:1]], data[1:]
        file.write_bytes(text)
        with sandbox.guarded():
            try:
                read_config(str(file), kind.MESSAGE)
            except StatusError as exc:
                assert_harmless(str(exc))
            try:
                kind.from_text(text.decode("utf-8", "surrogateescape"), where=str(file))
            except (ServingError, TfbundleError) as exc:
                assert_harmless(str(exc))

    def make(rng: random.Random) -> bytes:
        letter = rng.choice(sorted(TEXTS))
        return letter + mutant(TEXTS[letter], rng)

    with bounded_memory():
        Fuzzer(seconds, check).run(make)


@budgets()
def test_server_survives_every_config_that_it_polls(seconds: float, models: Path) -> None:
    with victim("--model_config_file_poll_wait_seconds=1", models=models) as server:
        good = config_text(server.folder).encode()
        draft = server.config.with_suffix(".new")

        def check(data: bytes) -> None:
            # A config that names another folder would be waited for, as the real server does.
            draft.write_bytes(data)
            draft.replace(server.config)
            time.sleep(0.1)
            assert server.server.process.poll() is None, "the server has ended"

        with bounded_memory(server.server.pid):
            Fuzzer(seconds, check).run(lambda rng: mutant(good, rng))
            check(good)
            time.sleep(2.5)
            assert_right(server)

