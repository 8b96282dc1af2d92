"""A server to attack: its models, its process under limits of memory and files, and small clients for raw traffic.

    serving_default, single   x float32[?,4] -> x
    fill                      n int32[] -> float32[n]: a large answer to a small request
    multiply                  a float32[?,?], b float32[?,?] -> their product
    spin                      turns int32[] -> float32[]: takes as long as the client likes

The models of the recordings are served too; `clsreg` has signatures for Classify and Regress.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from tests.serving.processes import ServerProcess, server_process
from tests.serving.server.recordings import MODELS

MEMORY_BYTES = 14 * 2**30
"""Address space of a server under attack, so that one without limits ends alone."""

PREDICT = f"/{PREDICTION_SERVICE}/Predict"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
SECONDS = 30.0
RECORDED = ("rows", "clsreg", "types", "strs")


@dataclass(frozen=True)
class Victim:
    """A running server.

    Attributes:
        server: its endpoints and its process.
        folder: holds the models, the config and the log.
    """

    server: ServerProcess
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def config(self) -> Path:
        return self.folder / "models.config"

    def raw(self, port: int | None = None) -> socket.socket:
        """Open a TCP connection, to the REST port by default."""
        return socket.create_connection(("127.0.0.1", port or self.server.rest_port), timeout=SECONDS)

    def post(
        self, body: bytes | Iterable[bytes], *, model: str = "m", verb: str = "predict", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a POST request and return the status and body of the answer; (0, reason) if the connection ends without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=SECONDS)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # the server may answer, and close, before the body ends
                connection.request("POST", f"/v1/models/{model}:{verb}", body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as exc:
            return 0, type(exc).__name__.encode()
        finally:
            connection.close()

    def call(self, data: bytes, method: str = PREDICT, *, gzip: bool = False) -> tuple[str, str]:
        """Call a gRPC method with a serialized request and return the status code and its details."""
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        with grpc.insecure_channel(self.server.grpc_target, UNLIMITED) as channel:
            try:
                channel.unary_unary(method)(data, timeout=SECONDS, compression=compression)
            except grpc.RpcError as exc:
                return exc.code().name, exc.details() or ""
        return "OK", ""


def save_model(path: Path) -> None:
    """Save the model with the signatures above."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def single(self, x: Any) -> dict[str, Any]:
            return {"y": tf.identity(x)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="n")])
        def fill(self, n: Any) -> dict[str, Any]:
            return {"y": tf.fill([n], 0.1)}

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name=name) for name in "ab"])
        def multiply(self, a: Any, b: Any) -> dict[str, Any]:
            return {"y": tf.linalg.matmul(a, b)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
        def spin(self, turns: Any) -> dict[str, Any]:
            matrix = tf.while_loop(
                lambda turn, _: turn < turns,
                lambda turn, m: (turn + 1, tf.tanh(tf.matmul(m, m))),
                (tf.constant(0), tf.eye(200)),
            )[1]
            return {"y": 0.0 * tf.reduce_sum(matrix)}

    model = Model()
    signatures = {"serving_default": model.single, "single": model.single, "fill": model.fill}
    tf.saved_model.save(model, str(path), signatures={**signatures, "multiply": model.multiply, "spin": model.spin})


def config_text(folder: Path, names: Iterable[str] = ("m", *RECORDED)) -> str:
    """Return a model config file with the named models in `folder`."""
    row = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }}'
    rows = " ".join(row.format(name, folder) for name in names)
    return f"model_config_list {{ {rows} }}"


@contextmanager
def victim(*flags: str, models: Path | None = None, files: int | None = None) -> Iterator[Victim]:
    """Serve the models until the end of the block.

    Args:
        flags: flags of the server besides ports and models.
        models: a folder with a model `m` saved before; None saves it.
        files: most file descriptors of the server; None leaves that as it is.
    """
    wrapper = ("prlimit", f"--nofile={files}") if files and sys.platform == "linux" else ()
    with tempfile.TemporaryDirectory(prefix="tfbundle-victim-") as name:
        folder = Path(name)
        if models is None:
            save_model(folder / "m" / "1")
        else:
            shutil.copytree(models / "m", folder / "m")
        for recorded in RECORDED:
            shutil.copytree(MODELS / recorded, folder / recorded)
        (folder / "models.config").write_text(config_text(folder))
        with (folder / "log").open("wb") as log:
            config = f"--model_config_file={folder / 'models.config'}"
            with server_process(config, *flags, stderr=log, wrapper=wrapper, memory_bytes=MEMORY_BYTES) as server:
                yield Victim(server, folder)


def predict_message(signature: str = "single", model: str = "m", **inputs: Any) -> Any:
    """Return a PredictRequest with the given TensorProtos, each as keywords of the message."""
    request = serving_message("PredictRequest")(model_spec={"name": model, "signature_name": signature})
    for alias, tensor in inputs.items():
        request.inputs[alias].CopyFrom(tensor)
    return request


def tensor(shape: Iterable[int], dtype: int = 1, **values: Any) -> Any:
    """Return a TensorProto with exactly these fields, right or wrong."""
    from serving.protocol.messages import message

    made = message("tensorflow.TensorProto")(dtype=dtype, **values)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made
