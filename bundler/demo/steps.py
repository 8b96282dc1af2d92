"""The demo's steps: train and build the digits network, build the sentence encoder, serve the bundle, and smoke-test it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bundler.errors import TfbundleError

if TYPE_CHECKING:
    from bundler.pipeline import Progress
    from bundler.validation.bundle import Bundle

DIGITS = "digits"
MINILM = "minilm"
READY_SECONDS = 90
SMOKE_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True)
class ServedEndpoints:
    """Addresses, as `host:port` on this machine, of the server in the child process."""

    grpc: str
    rest: str


def build_digits(out: Path, progress: Progress | None = None) -> Bundle:
    """Train the digits network and build it with TFLite variants, gated by their accuracy on held-out images.

    Raises:
        TfbundleError: A stage of the build failed.
    """
    from bundler.demo.digits import evaluate, train
    from bundler.pipeline import build

    model, images = train()
    return build(
        model,
        {"image": images},
        out,
        name=DIGITS,
        tflite=("float16", "dynamic", "int8", "int8-io", "int16x8"),
        calibration="bundler.demo.digits:calibration",
        gate="bundler.demo.digits:accuracy",
        inputs=("image=float32[batch,1,8,8]",),
        progress=progress,
        evaluate=evaluate,
    )


def build_minilm(out: Path, progress: Progress | None = None) -> Bundle:
    """Build the sentence encoder with its real weights; batch and sequence length stay dynamic.

    Raises:
        TfbundleError: A stage of the build failed.
    """
    from bundler.demo import sentences
    from bundler.pipeline import build

    sentences.model_folder()
    return build(
        f"{Path(sentences.__file__)}:make",
        out=out,
        name=MINILM,
        inputs=("input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]"),
        progress=progress,
        evaluate=sentences.evaluate,
    )


@contextmanager
def served(bundle: Path) -> Iterator[ServedEndpoints]:
    """Serve a bundle with `tfbundle serve` in a child process, and stop it at the end.

    Raises:
        TfbundleError: The server exited, or did not load the models in time. The message contains its log.
    """
    ports = _free_ports(2)
    flags = [f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    command = [sys.executable, "-m", "bundler", "serve", str(bundle), *flags]
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(child, ports, log)
            yield ServedEndpoints(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
        finally:
            _stop(child)


def smoke_test(bundle: Path, endpoints: ServedEndpoints) -> str:
    """Run the bundle's own smoke test in a process that can import only grpcio, protobuf and NumPy.

    Returns:
        The output of the smoke test.

    Raises:
        TfbundleError: The smoke test failed.
    """
    guard = Path(__file__).with_name("only_three.py")
    script = bundle.resolve() / "smoke" / "smoke_test.py"
    command = [sys.executable, "-I", str(guard), str(script), endpoints.grpc, "--rest", endpoints.rest]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SMOKE_SECONDS,
        cwd=bundle,
        env=_bare_environment(),
        check=False,
    )
    if done.returncode:
        raise TfbundleError(
            f"The smoke test failed with exit code {done.returncode}.\n{done.stdout}{done.stderr}", code="TFB7203"
        )
    return done.stdout


def answer(endpoints: ServedEndpoints) -> dict[str, Any]:
    """Call the served models with real inputs: one held-out image, and the pairs of sentences."""
    from bundler.demo.digits import digits
    from bundler.demo.sentences import PAIRS, SENTENCES, similarities, tokenize
    from serving import Client

    with Client(endpoints.grpc) as client:
        logits = client.predict(DIGITS, image=digits().test_images[:1])["logits"]
        embeddings = client.predict(MINILM, tokenize(SENTENCES))["embedding"]
    values = similarities(embeddings)
    return {
        "digit": {"answer": int(logits.argmax()), "label": int(digits().test_labels[0])},
        "sentences": [
            {"pair": [SENTENCES[a], SENTENCES[b]], "similarity": value}
            for (a, b), value in zip(PAIRS, values, strict=True)
        ],
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def _wait(child: subprocess.Popen[bytes], ports: list[int], log: IO[str]) -> None:
    """Wait until both ports are open; the server opens them when its models are loaded."""
    deadline = time.monotonic() + READY_SECONDS
    while not all(_is_open(port) for port in ports):
        if child.poll() is not None or time.monotonic() > deadline:
            state = "exited" if child.poll() is not None else f"was not ready after {READY_SECONDS} s"
            log.seek(0)
            raise TfbundleError(f"The server {state}.\n{log.read()}", code="TFB6205")
        time.sleep(0.1)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _bare_environment() -> dict[str, str]:
    """Return the environment without Python's variables, which could make more packages importable."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
