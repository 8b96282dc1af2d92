"""gRPC over TLS and mutual TLS. ssl_config_file holds PEM text (config/ssl_config.proto); REST stays without TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.status import StatusError
from serving.server import Server
from tests import requirements
from tests.serving.server.calls import SINGLE, post
from tests.serving.server.recordings import MODELS

SECONDS = 20.0


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([requirements.openssl(), *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    subject = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)


def signed(folder: Path, name: str, by: str) -> None:
    names = ("-addext", "subjectAltName=DNS:localhost")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", *names,
            "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "2", "-copy_extensions", "copy", "-out", f"{name}.crt")  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates of a server and a client signed by `ours`, and of a client signed by another authority."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ours", "theirs"):
        authority(folder, name)
    signed(folder, "server", "ours")
    signed(folder, "client", "ours")
    signed(folder, "stranger", "theirs")
    return folder


def ssl_config(keys: Path, tmp_path: Path, *, verify: bool) -> Path:
    """Write the file in TensorFlow Serving's format."""
    config = serving_message("SSLConfig")(
        server_key=(keys / "server.key").read_text(), server_cert=(keys / "server.crt").read_text(), client_verify=verify
    )
    if verify:
        config.custom_ca = (keys / "ours.crt").read_text()
    from google.protobuf import text_format

    file = tmp_path / "ssl.config"
    file.write_text(text_format.MessageToString(config))
    return file


@pytest.fixture
def plain_tls(base_path: Path, keys: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(base_path, ssl_config_file=str(ssl_config(keys, tmp_path, verify=False))) as server:
        yield server


@pytest.fixture
def mutual_tls(base_path: Path, keys: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(base_path, ssl_config_file=str(ssl_config(keys, tmp_path, verify=True))) as server:
        yield server


@contextmanager
def channel(server: Server, keys: Path, *, trusts: str, who: str | None = None) -> Iterator[grpc.Channel]:
    key, certificate = ((keys / f"{who}.{end}").read_bytes() for end in ("key", "crt")) if who else (None, None)
    credentials = grpc.ssl_channel_credentials((keys / f"{trusts}.crt").read_bytes(), key, certificate)
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as opened:
        yield opened


def predict(opened: grpc.Channel) -> list[float]:
    request = serving_message("PredictRequest")(model_spec={"name": "m", "signature_name": "single"})
    request.inputs["x"].CopyFrom(_four())
    send = opened.unary_unary(
        f"/{PREDICTION_SERVICE}/Predict",
        request_serializer=type(request).SerializeToString,
        response_deserializer=serving_message("PredictResponse").FromString,
    )
    return list(send(request, timeout=SECONDS).outputs["y"].float_val)


def _four() -> object:
    import numpy as np

    from serving.protocol.tensors import to_proto

    return to_proto(np.array([[1, 2, 3, 4]], np.float32))


def assert_refused(opened: grpc.Channel) -> str:
    """Assert that the call fails and return its error."""
    with pytest.raises(grpc.RpcError) as caught:
        predict(opened)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    return str(caught.value)


def test_tls_needs_a_trusted_certificate_and_leaves_rest_plain(plain_tls: Server, keys: Path) -> None:
    with channel(plain_tls, keys, trusts="ours") as opened:
        assert predict(opened) == [1, 2, 3, 4]
    with channel(plain_tls, keys, trusts="theirs") as opened:
        assert "certificate" in assert_refused(opened).lower()
    with grpc.insecure_channel(f"localhost:{plain_tls.grpc_port}") as opened:
        assert_refused(opened)
    assert post(plain_tls, "m:predict", SINGLE) == {"predictions": [[1, 2, 3, 4]]}


def test_mutual_tls_needs_a_certificate_of_the_authority(mutual_tls: Server, keys: Path) -> None:
    with channel(mutual_tls, keys, trusts="ours", who="client") as opened:
        assert predict(opened) == [1, 2, 3, 4]
    with channel(mutual_tls, keys, trusts="ours", who="stranger") as opened:
        assert_refused(opened)
    with channel(mutual_tls, keys, trusts="ours") as opened:
        assert_refused(opened)
    with channel(mutual_tls, keys, trusts="ours", who="client") as opened:
        assert predict(opened) == [1, 2, 3, 4]


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('server_key: "x" server_cert: "y"', "ssl_config_file"),
        ('server_key: "x"', "server_cert"),
        ("server_keys: 1", "Invalid protobuf file"),
        ("client_verify: true", "server_key"),
        ('server_key: "x" server_cert: "y" client_verify: true', "has no custom_ca"),
    ],
)
def test_invalid_ssl_config_is_refused(text: str, words: str, base_path: Path, tmp_path: Path) -> None:
    from serving.errors import ConfigError

    (tmp_path / "ssl.config").write_text(text)
    with pytest.raises((ConfigError, StatusError), match=words):
        Server(base_path, ssl_config_file=str(tmp_path / "ssl.config")).start()


def test_tls_with_a_self_signed_certificate(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            requirements.openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    config = tmp_path / "ssl.config"
    config.write_text(f"server_key: {json.dumps(key.read_text())}\nserver_cert: {json.dumps(cert.read_text())}\n")
    request = serving_message("GetModelStatusRequest")(model_spec={"name": "rows"}).SerializeToString()
    credentials = grpc.ssl_channel_credentials(cert.read_bytes())
    options = [("grpc.ssl_target_name_override", "localhost")]
    with (
        Server(MODELS / "rows", ssl_config_file=str(config)) as running,
        grpc.secure_channel(f"127.0.0.1:{running.grpc_port}", credentials, options) as opened,
    ):
        assert opened.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request, timeout=20)
