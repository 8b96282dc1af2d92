"""Mistakes that produce the examples in serving/error_pages/: each function makes one, in an empty current folder.

`TFBUNDLE_WRITE_EXAMPLES=1 pytest tests/test_error_examples.py` writes the messages into the pages.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from serving import Tls
from tests.bundler.cli.commands import run
from tests.serving.certificates import Authority


@dataclass(frozen=True)
class Given:
    """What the mistakes start from.

    Attributes:
        onnx: a small .onnx file, which is not to be changed.
        built: a bundle of it, which is not to be changed.
        patch: undoes its changes after the mistake.
    """

    onnx: Path
    built: Path
    patch: pytest.MonkeyPatch

    def bundle(self) -> Path:
        """Return a copy of the bundle, `digits`, in the current folder."""
        return copytree(self.built, "digits")

    def model(self) -> str:
        """Return a copy of the .onnx file in the current folder."""
        Path("model.onnx").write_bytes(self.onnx.read_bytes())
        return "model.onnx"


Mistake = Callable[[Given], object]

MISTAKES: dict[str, Mistake] = {}


def example(code: str) -> Callable[[Mistake], Mistake]:
    """Register a function as the mistake whose message is the example of a code."""

    def register(mistake: Mistake) -> Mistake:
        assert code not in MISTAKES
        MISTAKES[code] = mistake
        return mistake

    return register


def command(code: str, *arguments: str) -> None:
    """Register a command that fails in an empty folder."""
    MISTAKES[code] = lambda given: run(*arguments, code=None)


def python(name: str, text: str) -> str:
    """Write a Python file and return its name."""
    Path(name).write_text(text, "utf-8")
    return name


command("TFB1001", "smoke", "localhost:8500")
command("TFB1007", "verify", "digits", "--paritty")
command("TFB1101", "build", "bundle.yaml")
command("TFB2001", "build", "model.py")
command("TFB2002", "build", "model.onnx")
command("TFB6001", "serve", "--prot=8500")
command("TFB6002", "serve", "--port=http")


@example("TFB1002")
def sizes_in_words(given: Given) -> None:
    from bundler.spec.parsing import parse_counts

    parse_counts("large")


@example("TFB1003")
def name_with_a_space(given: Given) -> None:
    run("build", given.model(), "--name", "my model", code=None)


@example("TFB1004")
def file_that_exists(given: Given) -> None:
    Path("bundle.yaml").touch()
    run("init", "--yes", "--source", "model.onnx", code=None)


@example("TFB1005")
def text_instead_of_a_model(given: Given) -> None:
    Path("notes.txt").write_text("notes\n")
    run("inspect", "notes.txt", code=None)


@example("TFB1006")
def model_that_the_bundle_lacks(given: Given) -> None:
    given.bundle()
    run("promote", "digits", "--model", "ocr", "--label", "stable", "--version", "1", code=None)


@example("TFB1102")
def tab_in_yaml(given: Given) -> None:
    Path("bundle.yaml").write_text("models:\n\t- name: digits\n")
    run("build", "bundle.yaml", code=None)


@example("TFB1103")
def misspelled_key(given: Given) -> None:
    Path("bundle.yaml").write_text("models:\n  - name: digits\n    source: model.onnx\n    tolerence: 1e-3\n")
    run("build", "bundle.yaml", code=None)


@example("TFB1104")
def anchor_in_a_section(given: Given) -> None:
    from bundler.spec.yaml_edit import edit_yaml

    text = "serving: &serving\n  max_batch_size: 8\nother: *serving\n"
    edit_yaml(text, {("other", "max_batch_size"): 4}, where="bundle.yaml")


@example("TFB1105")
def label_of_an_unknown_model(given: Given) -> None:
    given.model()
    models = "models:\n  - {name: digits, source: model.onnx}\n"
    Path("bundle.yaml").write_text(models + "serving: {labels: {ocr: {stable: 1}}}\n")
    run("build", "bundle.yaml", code=None)


@example("TFB1201")
def short_dtype(given: Given) -> None:
    run("build", given.model(), "--input", "x=float[batch,3]", code=None)


@example("TFB1202")
def one_name_for_two_outputs(given: Given) -> None:
    from bundler.export.naming import choose_names

    choose_names(("a", "b"), ("y", "y"), ("x",))


@example("TFB1203")
def input_that_the_graph_lacks(given: Given) -> None:
    run("build", given.model(), "--input", "image=float32[batch,4]", code=None)


@example("TFB1204")
def example_without_a_batch(given: Given) -> None:
    import numpy as np

    from bundler.values.input_draws import dim_sizes
    from bundler.values.signature import Signature, TensorSpec

    dim_sizes(Signature((TensorSpec.parse("x=float32[batch,3]"),), ()), {"x": np.zeros(3)})


@example("TFB1205")
def opset_of_a_file(given: Given) -> None:
    run("build", given.model(), "--opset", "20", code=None)


@example("TFB1206")
def misspelled_converter(given: Given) -> None:
    run("build", given.model(), "--converter", "nativ", code=None)


@example("TFB1301")
def method_that_does_not_exist(given: Given) -> None:
    from torch import nn

    from bundler.sources.binding import parameters

    parameters(nn.Linear(2, 2), "encode")


@example("TFB1303")
def empty_label(given: Given) -> None:
    from bundler.adapters.labels import read_labels

    Path("labels.txt").write_text("cat\n\ndog\n")
    read_labels("labels.txt", Path())


@example("TFB1306")
def two_means_for_three_channels(given: Given) -> None:
    from bundler.adapters.preprocessing import ImageReader
    from bundler.spec.signature_spec import ImageSpec
    from bundler.values.signature import TensorSpec

    ImageReader.of_input(TensorSpec.parse("x=float32[batch,3,8,8]"), (3, 8, 8), ImageSpec(mean=(0.5, 0.5)))


@example("TFB1401")
def rollback_without_a_promotion(given: Given) -> None:
    given.bundle()
    run("promote", "digits", "--label", "stable", "--rollback", code=None)


@example("TFB2003")
def function_that_does_not_exist(given: Given) -> None:
    run("build", python("model.py", "def make() -> None: ...\n") + ":make_model", code=None)


@example("TFB2004")
def file_that_cannot_be_imported(given: Given) -> None:
    run("build", python("model.py", "from mymodels import make_model\n") + ":make_model", code=None)


@example("TFB2005")
def module_without_inputs(given: Given) -> None:
    text = "from torch import nn\n\ndef make_model():\n    return nn.Linear(4, 2)\n"
    run("build", python("model.py", text) + ":make_model", code=None)


@example("TFB2006")
def wrong_number_of_features(given: Given) -> None:
    text = "from torch import nn\n\ndef make_model():\n    return nn.Linear(4, 2)\n"
    run("build", python("model.py", text) + ":make_model", "--input", "input=float32[2,5]", code=None)


@example("TFB2101")
def weights_alone(given: Given) -> None:
    import torch

    torch.save({"weight": torch.zeros(2)}, "weights.pt")
    run("build", "weights.pt", code=None)


@example("TFB2102")
def list_in_place_of_weights(given: Given) -> None:
    import torch
    from torch import nn

    from bundler.sources.weights import load_weights

    torch.save([1, 2], "weights.pt")
    load_weights(nn.Linear(2, 2), "weights.pt", Path(), trust=False)


@example("TFB2103")
def weights_of_another_module(given: Given) -> None:
    import torch
    from torch import nn

    from bundler.sources.weights import load_weights

    torch.save(nn.Linear(2, 2, bias=False).state_dict(), "weights.pt")
    load_weights(nn.Linear(2, 2), "weights.pt", Path(), trust=False)


@example("TFB2105")
def pickled_function(given: Given) -> None:
    import torch

    torch.save({"call": os.getcwd}, "model.pt")
    run("build", "model.pt", code=None)


@example("TFB2303")
def text_in_the_answer(given: Given) -> None:
    import torch

    from bundler.sources.outputs import name_outputs

    name_outputs({"scores": torch.zeros(1), "name": "digits"})


def _saved(name: str, **changes: Any) -> str:
    """Write an .onnx file of one node, y = Relu(x), with changes, and return its name."""
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    node = helper.make_node(changes.pop("op", "Relu"), ["x"], ["y"], domain=changes.pop("domain", ""), name="scale")
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, ["batch", 4])], [value("y", TensorProto.FLOAT, ["batch", 4])],
        initializer=changes.pop("initializer", ()),
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if changes.pop("opset", None) == "none":
        del model.opset_import[:]
    onnx.save(model, name)
    return name


@example("TFB3001")
def operator_of_an_unknown_domain(given: Given) -> None:
    import onnx_ir as ir

    from bundler.converters.native.report import unsupported

    graph = ir.load(_saved("model.onnx", op="Scale", domain="mydomain")).graph
    raise unsupported(list(graph))


@example("TFB3003")
def file_without_an_opset(given: Given) -> None:
    import onnx_ir as ir

    from bundler.graph.opset import raise_opset

    raise_opset(ir.load(_saved("model.onnx", opset="none")))


@example("TFB3004")
def empty_file(given: Given) -> None:
    Path("empty.onnx").touch()
    run("build", "empty.onnx", code=None)


@example("TFB3005")
def weights_left_behind(given: Given) -> None:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    weight = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="model.onnx.data")
    run("build", _saved("model.onnx", initializer=[weight]), code=None)


@example("TFB3101")
def file_without_handlers(given: Given) -> None:
    run("ops", "--ops", python("handlers.py", "x = 1\n"), code=None)


@example("TFB3401")
def answers_that_differ(given: Given) -> None:
    from bundler.validation.report import ParityReport
    from bundler.values.comparison import Row
    from serving.golden.compare import Difference

    difference = Difference("y", 0.02, 0.004, None, (1, 3), "5.0", "5.02")
    raise ParityReport(1e-4, (Row("serving_default", "random", "SavedModel", difference),)).error()


@example("TFB4001")
def int8_without_samples(given: Given) -> None:
    run("build", given.model(), "--tflite", "int8", code=None)


@example("TFB4002")
def samples_of_another_kind(given: Given) -> None:
    run("build", given.model(), "--tflite", "int8", "--calibration", "samples.csv", code=None)


@example("TFB4004")
def random_samples(given: Given) -> None:
    run("build", given.model(), "--tflite", "int8", "--calibration", "random", code=None)


@example("TFB4206")
def int8_division_for_an_old_runtime(given: Given) -> None:
    from bundler.tflite.lowering import fitted
    from bundler.tflite.runtimes import parse_target
    from tests.bundler.tflite.single_op import single_op

    fitted(single_op("DIV", 1, "INT8", scales=1), parse_target("litert==1.3"), "int8 TFLite file")


@example("TFB4005")
def shapes_with_int16x8(given: Given) -> None:
    given.model()
    np.savez("x.npz", x=np.zeros((1, 4), np.float32))
    text = "- {name: digits, source: model.onnx, tflite: {variants: [int16x8], calibration: x.npz, shapes: {long: {batch: 2}}}}"
    Path("bundle.yaml").write_text(f"models:\n  {text}\n")
    run("build", "bundle.yaml", code=None)


@example("TFB4503")
def vocabulary_for_a_model_without_tokens(given: Given) -> None:
    run("export-mobile", given.bundle(), "-o", "mobile", "--tokenizer", "vocab.txt", code=2)


@example("TFB5001")
def folder_below_a_file(given: Given) -> None:
    given.model()
    Path("dist").touch()
    run("build", "model.onnx", "-o", "dist/digits", code=None)


@example("TFB5003")
def link_in_place_of_the_manifest(given: Given) -> None:
    given.bundle()
    Path("digits/bundle.json").rename("elsewhere.json")
    Path("digits/bundle.json").symlink_to("../elsewhere.json")
    run("verify", "digits", code=None)


@example("TFB5004")
def version_that_exists(given: Given) -> None:
    from bundler.bundle.staging import Staging

    given.bundle()
    with Staging(Path("digits")) as staging:
        staging.next_version("mlp", 1)


@example("TFB5005")
def bundle_that_is_being_written(given: Given) -> None:
    from bundler.bundle.staging import Staging

    given.bundle()
    with Staging(Path("digits")):
        run("promote", "digits", "--label", "stable", "--version", "1", code=None)


@example("TFB5101")
def folder_that_is_not_a_bundle(given: Given) -> None:
    Path("empty").mkdir()
    run("verify", "empty", code=None)


@example("TFB5102")
def manifest_that_was_cut_short(given: Given) -> None:
    given.bundle()
    path = Path("digits/bundle.json")
    path.write_text(path.read_text()[:100])
    run("verify", "digits", code=None)


@example("TFB5103")
def manifest_of_the_future(given: Given) -> None:
    given.bundle()
    path = Path("digits/bundle.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "tfbundle/99"}))
    run("verify", "digits", code=None)


@example("TFB5104")
def file_that_was_deleted(given: Given) -> None:
    given.bundle()
    Path("digits/models/mlp/1/saved_model.pb").unlink()
    run("verify", "digits", code=None)


@example("TFB5106")
def text_in_place_of_tflite(given: Given) -> None:
    Path("model.tflite").write_text("version https://git-lfs.github.com/spec/v1\n")
    run("inspect", "model.tflite", code=None)


@example("TFB6003")
def path_without_models(given: Given) -> None:
    from serving import Server

    Server("nowhere").start()


@example("TFB6004")
def one_port_for_two_protocols(given: Given) -> None:
    given.bundle()
    run("launch", "digits", "--port", "8500", "--rest-port", "8500", code=None)


@example("TFB6005")
def certificates_that_are_missing(given: Given) -> None:
    from serving.server.config.options import ServerOptions
    from serving.server.grpc_api.listen import _credentials

    Path("tls.config").write_text("client_verify: false\n")
    _credentials(ServerOptions(ssl_config_file="tls.config"))


@example("TFB6007")
def reload_folder_that_does_not_exist(given: Given) -> None:
    from serving.server.config.options import ServerOptions
    from serving.server.models.reload_paths import check_flag

    check_flag(ServerOptions(reload_base_path="nowhere"))


@example("TFB6101")
def unknown_field_in_a_config(given: Given) -> None:
    from serving.config.model_server import ModelServerConfig

    ModelServerConfig.from_text("models { }", where="models.config")


@example("TFB6102")
def model_listed_twice(given: Given) -> None:
    from serving.config.model_server import ModelServerConfig

    model = 'config { name: "digits" base_path: "/models/digits" model_platform: "tensorflow" }'
    ModelServerConfig.from_text(f"model_config_list {{ {model} {model} }}", where="models.config")


@example("TFB6103")
def batch_sizes_in_the_wrong_order(given: Given) -> None:
    from serving.config.batching import BatchingParameters

    BatchingParameters(max_batch_size=8, allowed_batch_sizes=(8, 4))


@example("TFB6201")
def program_that_is_not_installed(given: Given) -> None:
    given.bundle()
    given.patch.setenv("PATH", "")
    run("launch", "digits", "--runner", "binary", "--port", "1", "--rest-port", "2", code=None)


@example("TFB6202")
def docker_that_is_not_installed(given: Given) -> None:
    given.bundle()
    given.patch.setenv("PATH", "")
    run("launch", "digits", "--runner", "docker", "--port", "1", "--rest-port", "2", code=None)


@example("TFB6401")
def traces_over_grpc(given: Given) -> None:
    from serving.tracing.settings import check_environment

    check_environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@example("TFB7001")
def address_without_a_port(given: Given) -> None:
    given.bundle()
    run("smoke", "localhost", "--bundle", "digits", code=None)


@example("TFB7002")
def port_that_nobody_uses(given: Given) -> None:
    from serving import Client

    with Client("http://127.0.0.1:1", timeout=5) as client:
        client.status("digits")


@example("TFB7004")
def server_that_does_not_answer(given: Given) -> None:
    from serving import Client

    with socket.create_server(("127.0.0.1", 0)) as silent:
        given.patch.setattr("serving.client.transport.Target.__str__", lambda target: "localhost:8501 (REST)")
        with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1) as client:
            client.status("digits")


@example("TFB7009")
def model_without_a_name(given: Given) -> None:
    from serving import Client

    with Client("localhost:8500") as client:
        client.predict("", x=1)


def shake_hands(issued_for: str = "models.example.com", days: float = 1, clients: bool = False, **settings: Any) -> None:
    """Let a client with these settings of TLS meet a server, in memory, and raise what the client makes of it."""
    from serving.client.tls_errors import tls_error
    from serving.client.tls_files import read_tls_files
    from serving.client.transport import Target

    authority = Authority(Path())
    pair = authority.issue("server", issued_for, days=days)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    if clients:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(authority.file)
    target = Target.parse("https://models.example.com")
    files = read_tls_files(Tls(**settings), target)
    assert files
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = files.context().wrap_bio(to_client, to_server, server_hostname="models.example.com")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for step in (client.do_handshake, other.do_handshake, client.do_handshake, other.do_handshake, client.read):
            with suppress(ssl.SSLWantReadError):
                try:
                    step()
                except ssl.SSLError:
                    if step.__self__ is client:
                        raise
    except ssl.SSLError as exc:
        error = tls_error(exc, target, files)
        assert error
        raise error from exc


@example("TFB7010")
def authority_that_the_client_does_not_know(given: Given) -> None:
    shake_hands(ca=Authority(Path(), "company-ca").file)


@example("TFB7011")
def certificate_that_has_expired(given: Given) -> None:
    shake_hands(ca="ca.pem", days=-1)


@example("TFB7012")
def certificate_for_another_name(given: Given) -> None:
    shake_hands("models.internal", ca="ca.pem")


@example("TFB7013")
def key_of_another_certificate(given: Given) -> None:
    authority = Authority(Path())
    client, other = authority.issue("client"), authority.issue("other")
    shake_hands(ca="ca.pem", certificate=client.certificate, key=other.key)


@example("TFB7014")
def key_with_a_pass_phrase(given: Given) -> None:
    client = Authority(Path()).issue("client", password=b"secret")
    shake_hands(ca="ca.pem", certificate=client.certificate, key=client.key)


def connect(target: str, **credentials: Any) -> None:
    """Make a client with these credentials."""
    from serving import Client, ConnectionSettings, Credentials

    Client(target, connection=ConnectionSettings(credentials=Credentials(**credentials))).close()


@example("TFB7015")
def token_file_without_a_token(given: Given) -> None:
    Path("token").touch()
    connect("localhost:8500", token_file="token")


@example("TFB7016")
def token_in_the_clear(given: Given) -> None:
    connect("models.example.com:8500", token="abc")


@example("TFB7017")
def client_without_a_certificate(given: Given) -> None:
    shake_hands(ca="ca.pem", clients=True)


@example("TFB7018")
def certificate_without_its_key(given: Given) -> None:
    run("smoke", "grpcs://models.example.com:443", "--bundle", "digits", "--client-cert", "client.pem", code=None)


def answered(status: str, message: str) -> None:
    """Raise the error of a call over gRPC that ends with this status."""
    from serving.client.grpc_protocol import GrpcProtocol
    from serving.client.steps import Request
    from serving.client.transport import ModelRef, Target

    request = Request("/tensorflow.serving.PredictionService/Predict", b"", ModelRef("digits"), 30.0)
    raise GrpcProtocol(Target.parse("grpcs://models.example.com:443")).error(request, status, message, is_closed=False)


@example("TFB7019")
def token_that_the_gateway_does_not_accept(given: Given) -> None:
    answered("UNAUTHENTICATED", "Jwt is expired")


@example("TFB7020")
def server_that_is_stopped(given: Given) -> None:
    answered("UNAVAILABLE", "Stream removed (Socket closed)")


@example("TFB7021")
def pings_that_come_too_often(given: Given) -> None:
    answered("UNAVAILABLE", "Too many pings")


@example("TFB7101")
def object_in_place_of_an_array(given: Given) -> None:
    from serving.protocol.tensors import string_bytes

    string_bytes(5)


@example("TFB7102")
def dates(given: Given) -> None:
    import numpy as np

    from serving.protocol.tensors import to_proto

    to_proto(np.array(["2026-01-01"], "datetime64[D]"))


@example("TFB7103")
def number_in_place_of_an_example(given: Given) -> None:
    from serving.client.examples import to_message

    to_message(5)  # type: ignore[arg-type]


@example("TFB7201")
def damaged_golden_data(given: Given) -> None:
    from serving.golden.data import Golden

    Path("1.npz").write_text("golden")
    Golden.load(Path("1.npz"))


@example("TFB7202")
def text_in_place_of_requests(given: Given) -> None:
    Path("requests.log").write_text("GET /v1/models/digits\nGET /v1/models/digits\n")
    run("smoke", "localhost:8500", "--replay", "requests.log", code=None)


@example("TFB8001")
def package_that_is_not_installed(given: Given) -> None:
    from serving.bench.plot import draw

    given.patch.setitem(sys.modules, "matplotlib", None)
    draw([], Path("latency.svg"))


@example("TFB8101")
def disk_error(given: Given) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error", "model.onnx")

    given.patch.setattr("bundler.spec.request.make_request", fail)
    run("build", "model.onnx", code=None)


@example("TFB8901")
def defect(given: Given) -> None:
    given.patch.setattr("bundler.spec.request.make_request", lambda *arguments: 1 / 0)
    run("build", "model.onnx", code=None)


command("TFB9001", "pull", "oci://Digits")
command("TFB9002", "pull", "oci://registry.example.com/team/digits:1", "--insecure")
command("TFB9013", "push", "digits", "oci://registry.example.com/team/digits:1", "--platform", "amd64")


@example("TFB9003")
def docker_configuration_that_is_no_json(given: Given) -> None:
    Path("config.json").write_text("auths:", "utf-8")
    given.patch.setenv("DOCKER_CONFIG", str(Path.cwd()))
    run("pull", "oci://registry.example.com/team/digits:1", code=None)


def pulled(given: Given, status: int, data: bytes = b"", reference: str = ":1") -> None:
    """Pull from a registry that gives one answer to all requests."""
    import requests

    def answer(self: Any, url: str, method: str = "GET", **settings: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response._content = status, url, data
        response._content_consumed = True
        response.request = requests.Request(method, url).prepare()
        return response

    given.patch.setenv("DOCKER_CONFIG", str(Path.cwd()))
    given.patch.setattr("bundler.delivery.oci.transport.Transport.do_request", answer)
    given.patch.setattr("bundler.delivery.oci.transport.Patience.wait", lambda *arguments: None)
    run("pull", f"oci://registry.example.com/team/digits{reference}", code=None)


@example("TFB9004")
def registry_that_asks_for_credentials(given: Given) -> None:
    pulled(given, 401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}')


@example("TFB9005")
def registry_that_denies_access(given: Given) -> None:
    pulled(given, 403, b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}')


@example("TFB9006")
def tag_that_does_not_exist(given: Given) -> None:
    pulled(given, 404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')


@example("TFB9007")
def registry_that_fails(given: Given) -> None:
    pulled(given, 503)


@example("TFB9008")
def server_that_is_no_registry(given: Given) -> None:
    pulled(given, 400, b"<html>Bad Request</html>")


@example("TFB9009")
def tag_of_an_image(given: Given) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json"}
    pulled(given, 200, json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode(), ":1-models")


@example("TFB9010")
def manifest_that_was_exchanged(given: Given) -> None:
    pulled(given, 200, b"{}", f"@sha256:{'0' * 64}")


@example("TFB9011")
def layer_that_leads_out_of_its_folder(given: Given) -> None:
    from bundler.delivery.oci.unpack import Target

    Target(Path(), {}).write_file("../evil", [], "'../evil' in oci://registry.example.com/team/digits@sha256:0…")


@example("TFB9012")
def folder_with_another_bundle(given: Given) -> None:
    from bundler.delivery.oci.pull import check_target

    check_target(Path(given.bundle()).absolute(), replace=False)


@example("TFB9101")
def address_of_no_store(given: Given) -> None:
    from bundler.values.addresses import StoreAddress

    StoreAddress.parse("ftp://host/a")


@example("TFB9301")
def version_with_another_signature(given: Given) -> None:
    import onnx

    model = onnx.load(given.model())
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    onnx.save(model, "model.onnx")
    given.bundle()
    run("build", "model.onnx", "-o", "digits", "--name", "mlp", "--against", "1", code=None)


@example("TFB9302")
def promotion_without_a_comparison(given: Given) -> None:
    from bundler.operations.promote import promote

    bundle = Path(given.bundle())
    promote(bundle, None, "stable", 1)
    run("build", given.model(), "-o", bundle, "--name", "mlp")
    run("promote", bundle, "--label", "stable", "--version", 2, "--require-gate", code=None)


def signed(given: Given) -> Path:
    """Return a copy of the bundle, signed by a key that is the same in every run, with its public half in key.pub."""
    from bundler.delivery.supply_chain.keys import SigningKey
    from bundler.operations.sign import sign
    from tests.bundler.delivery.supply_chain.signers import fixed_key_pair

    root = Path(given.bundle())
    sign(root, SigningKey.load(fixed_key_pair(Path(), "key", 1).private))
    return root


def check(*options: str) -> None:
    """Verify the signature of the bundle."""
    run("verify", "digits", "--signature", *(options or ("--key", "key.pub")), code=None)


@example("TFB9201")
def bundle_that_is_not_signed(given: Given) -> None:
    (signed(given) / "attestations/signature.sigstore.json").unlink()
    check()


@example("TFB9202")
def signature_that_is_cut_off(given: Given) -> None:
    (signed(given) / "attestations/signature.sigstore.json").write_text('{"mediaType": "text/plain"}')
    check()


@example("TFB9203")
def signature_by_another_key(given: Given) -> None:
    from tests.bundler.delivery.supply_chain.signers import fixed_key_pair

    signed(given)
    fixed_key_pair(Path(), "other", 2)
    check("--key", "other.pub")


@example("TFB9204")
def certificate_of_another_authority(given: Given) -> None:
    from tests.bundler.delivery.supply_chain.signers import Authority, key_pair

    given.bundle()
    leaf = key_pair(Path(), "leaf")
    certificate = Authority(Path(), "ca").issue(leaf, "release")
    run("sign", "digits", "--key", leaf.private, "--certificate", certificate)
    check("--certificate-chain", str(Authority(Path(), "other").root))


@example("TFB9205")
def file_that_was_added_to_a_signed_bundle(given: Given) -> None:
    (signed(given) / "k8s/base/backdoor.yaml").write_text("kind: Pod")
    check()


@example("TFB9206")
def signature_that_was_swapped(given: Given) -> None:
    from tests.bundler.delivery.supply_chain.signers import rewrite_versions

    path = signed(given) / "attestations/signature.sigstore.json"
    signature = path.read_bytes()
    rewrite_versions(Path("digits"))
    path.write_bytes(signature)
    check()


@example("TFB9207")
def certificate_in_place_of_a_key(given: Given) -> None:
    given.bundle()
    Path("ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    run("sign", "digits", "--key", "ca.pem", code=None)


@example("TFB9208")
def promotion_after_signing(given: Given) -> None:
    signed(given)
    run("promote", "digits", "--label", "stable", "--version", "1")
    check()


@example("TFB9209")
def edited_file_in_a_bundle_to_sign(given: Given) -> None:
    from tests.bundler.delivery.supply_chain.signers import fixed_key_pair

    given.bundle()
    Path("digits/report.html").write_text("edited")
    fixed_key_pair(Path(), "key", 1)
    run("sign", "digits", "--key", "key.pem", code=None)


@example("TFB9210")
def bill_of_materials_that_is_missing(given: Given) -> None:
    (signed(given) / "attestations/bom.cdx.json").unlink()
    check()


@example("TFB9211")
def signing_without_a_key_on_a_laptop(given: Given) -> None:
    given.bundle()
    given.patch.delenv("SIGSTORE_ID_TOKEN", raising=False)
    given.patch.setattr("sigstore.oidc.detect_credential", lambda: None)
    run("sign", "digits", "--keyless", code=None)


@example("TFB9212")
def attachment_that_was_removed(given: Given) -> None:
    from bundler.bundle.layout import BundleLayout
    from bundler.delivery.supply_chain.attachments import require

    layout = BundleLayout(Path())
    require(layout, {layout.bom: []}, "oci://registry.example.com/models/digits:1")


def shadowing(given: Given, answers: dict[int, dict[str, Any]], *arguments: object, cut: int = 0) -> None:
    """Compare two versions of `digits` that answer like this, on a log of four requests; a version without answers refuses."""
    from serving.client.model_info import ModelInfo
    from serving.errors import RequestError
    from tests.serving.request_logs import batches, predict, write_log

    def metadata(client: object, model: str, version: int, label: None) -> ModelInfo:
        return ModelInfo(model, version, {})

    def send(request: Any, client: object) -> dict[str, Any]:
        if request.version not in answers:
            raise RequestError("INVALID_ARGUMENT: input size does not match signature: 1!=2", status="INVALID_ARGUMENT")
        return answers[request.version]

    given.patch.setattr("serving.client.client.Client.metadata", metadata)
    given.patch.setattr("serving.client.prepared_request.PreparedRequest.send", send)
    log = write_log(Path("requests.tfrecord"), [predict("digits", image=x) for x in batches(4, 64)])
    if cut:
        log.write_bytes(log.read_bytes()[:-cut])
    run("shadow", "localhost:8500", "--requests", log, *(arguments or ("--versions", 1, 2)), code=None)


SCORES = np.array([[0.1, 0.9]], np.float32)


@example("TFB9351")
def log_without_a_request(given: Given) -> None:
    Path("requests.tfrecord").touch()
    run("shadow", "localhost:8500", "--requests", "requests.tfrecord", "--versions", "1", "2", code=None)


@example("TFB9352")
def version_that_is_not_served(given: Given) -> None:
    from serving.client.client import Client
    from serving.client.model_info import VersionStatus
    from serving.errors import RequestError
    from serving.shadow.sides import Side

    def refuse(*arguments: object, **options: object) -> None:
        raise RequestError("NOT_FOUND: Could not find version 3 of model digits", status="NOT_FOUND")

    given.patch.setattr(Client, "metadata", refuse)
    given.patch.setattr(Client, "status", lambda *arguments: [VersionStatus(1, "AVAILABLE"), VersionStatus(2, "AVAILABLE")])
    with Client("localhost:8500") as client:
        Side(3).resolve(client, "digits")


@example("TFB9353")
def version_twice(given: Given) -> None:
    shadowing(given, {}, "--versions", 2, 2)


@example("TFB9354")
def log_that_was_cut(given: Given) -> None:
    shadowing(given, {1: {"scores": SCORES}, 2: {"scores": SCORES}}, cut=9)


@example("TFB9355")
def top_classes_of_an_embedding(given: Given) -> None:
    answer = {"embedding": np.zeros(384, np.float32)}
    shadowing(given, {1: answer, 2: answer}, "--versions", 1, 2, "--agree-on", "top1")


@example("TFB9356")
def misspelled_output(given: Given) -> None:
    shadowing(given, {1: {"scores": SCORES}, 2: {"scores": SCORES}}, "--versions", 1, 2, "--output", "score")


@example("TFB9357")
def requests_that_no_version_takes(given: Given) -> None:
    shadowing(given, {})


@example("TFB9358")
def versions_that_differ(given: Given) -> None:
    shadowing(given, {1: {"scores": SCORES}, 2: {"scores": 1 - SCORES}}, "--versions", 1, 2, "--max-disagreement", 0.01)


FOLDER = "/home/you"
"""Stands in the pages for the folder in which a mistake is made."""


@example("TFB9401")
def model_of_another_flavour(given: Given) -> None:
    from bundler.mlflow.stored import StoredBundle

    StoredBundle.of({"python_function": {}, "sklearn": {}}, Path(), "models:/churn/3")


@example("TFB9402")
def artifact_that_was_lost(given: Given) -> None:
    from bundler.bundle.manifest import FileEntry
    from bundler.mlflow.stored import StoredBundle

    root = Path(given.bundle())
    Path("digits/golden/mlp/1.npz").unlink()
    StoredBundle(root, FileEntry.of(root / "bundle.json").sha256, "models:/digits/1").verified()


@example("TFB9403")
def model_of_a_later_release(given: Given) -> None:
    from bundler.mlflow.stored import StoredBundle

    StoredBundle.of({"tfbundle": {"format": 2, "tfbundle_version": "2.0.0"}}, Path(), "models:/digits/1")


@example("TFB9404")
def damaged_bundle_for_mlflow(given: Given) -> None:
    from bundler.mlflow.stored import check_loggable
    from bundler.validation.bundle import Bundle

    bundle = Bundle.open(given.bundle())
    bundle.layout.golden_file("mlp", 1).unlink()
    check_loggable(bundle, allow_unsafe_ops=False)


@example("TFB9405")
def prediction_in_float64(given: Given) -> None:
    from bundler.mlflow.inputs import to_inputs
    from bundler.values.signature import TensorSpec

    to_inputs({"x": np.zeros((1, 4))}, [TensorSpec.parse("x=float32[batch,4]")])


def message(mistake: Mistake, given: Given, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command line prints for a mistake, without what differs from run to run."""
    from bundler.cli.output import print_error
    from serving.errors import ExplainedError

    outputs: list[str] = []
    original = run

    def recorded(*arguments: object, code: int | None = 0) -> Any:
        result = original(*arguments, code=code)
        outputs.append(result.stderr)
        return result

    given.patch.setitem(globals(), "run", recorded)
    try:
        mistake(given)
    except ExplainedError as exc:
        capsys.readouterr()
        print_error(exc.what, where=exc.where, fix=exc.fix, code=exc.code)
        outputs.append(capsys.readouterr().err)
    text = "\n".join(outputs)
    text = text[text.index("error TFB") :].rstrip("\n").replace(str(Path.cwd()), FOLDER)
    return re.sub(r"\(process \d+, since [^)]+\)", "(process 1234, since 2026-01-31T12:00:00+00:00)", text)


def _in_memory(given: Given) -> str:
    """Push the bundle to an address in memory, which has nothing before, and return the address."""
    import fsspec

    from bundler.process.cache import CACHE_ENV

    given.patch.setenv(CACHE_ENV, str(Path("cache").absolute()))
    fsspec.filesystem("memory").store.clear()
    run("push", given.bundle(), "memory://bucket/digits")
    return "memory://bucket/digits"


def _failing_read(given: Given, error: Exception) -> None:
    """Let reading bundle.json of an address in memory fail with an error of a store's library."""
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*arguments: object, **options: object) -> None:
        raise error

    address = _in_memory(given)
    given.patch.setattr(MemoryFileSystem, "cat_file", fail)
    run("verify", address, code=None)


@example("TFB9102")
def no_credentials(given: Given) -> None:
    _s3_without(given, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    run("verify", "s3://bucket/digits", code=None)


@example("TFB9105")
def no_server_at_the_endpoint(given: Given) -> None:
    _s3_without(given)
    given.patch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    run("verify", "s3://bucket/digits", code=None)


def _s3_without(given: Given, *names: str) -> None:
    """Give s3fs an environment of its own, in which it tries everything once, without the variables of some names."""
    from s3fs import S3FileSystem

    settings = {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none",
    }  # fmt: skip
    for name, value in settings.items():
        given.patch.setenv(name, value)
    for name in names:
        given.patch.delenv(name, raising=False)
    given.patch.setattr(S3FileSystem, "retries", 1)
    S3FileSystem.clear_instance_cache()


@example("TFB9103")
def no_permission(given: Given) -> None:
    _failing_read(given, PermissionError("Access Denied"))


@example("TFB9104")
def no_bucket(given: Given) -> None:
    _failing_read(given, FileNotFoundError("The specified bucket does not exist"))


@example("TFB9106")
def overloaded_store(given: Given) -> None:
    _failing_read(given, OSError(16, "Please reduce your request rate"))


@example("TFB9107")
def push_to_a_web_server(given: Given) -> None:
    run("push", given.bundle(), "https://models.example.com/digits", code=None)


@example("TFB9108")
def address_without_a_bundle(given: Given) -> None:
    _in_memory(given)
    run("verify", "memory://bucket/letters", code=None)


@example("TFB9109")
def push_during_another(given: Given) -> None:
    from datetime import datetime, timezone

    import fsspec

    renewed = datetime.now(timezone.utc).isoformat()
    holder = {"id": "x", "host": "builder", "pid": 41, "since": "2026-11-30T10:00:00+00:00", "renewed": renewed}
    address = _in_memory(given)
    fsspec.filesystem("memory").pipe_file("/bucket/digits/.tfbundle/lease.json", json.dumps(holder).encode())
    run("push", "digits", address, code=None)


@example("TFB9110")
def changed_object(given: Given) -> None:
    import fsspec

    address = _in_memory(given)
    fsspec.filesystem("memory").pipe_file("/bucket/digits/report.html", b"<html>")
    run("pull", address, "-o", "copy", code=None)


@example("TFB9111")
def push_beside_other_files(given: Given) -> None:
    import fsspec

    _in_memory(given)
    fsspec.filesystem("memory").pipe_file("/bucket/photos/cat.jpg", b"cat")
    run("push", "digits", "memory://bucket/photos", code=None)


@example("TFB9112")
def push_of_another_version_1(given: Given) -> None:
    address = _in_memory(given)
    index = Path("digits/golden/mlp/1.npz")
    _rewrite_entry("golden/mlp/1.npz", index.read_bytes() + b" ")
    run("push", "digits", address, code=None)


def _rewrite_entry(path: str, data: bytes) -> None:
    """Give a file of the bundle `digits` another content, in bundle.json, too."""
    from dataclasses import replace

    from bundler.bundle.manifest import FileEntry, Manifest

    file = Path("digits", path)
    file.write_bytes(data)
    manifest = Manifest.read(Path("digits/bundle.json"))
    changed = replace(manifest, files={**manifest.files, path: FileEntry.of(file)})
    Path("digits/bundle.json").write_bytes(changed.to_bytes())


@example("TFB9113")
def push_of_an_edited_file(given: Given) -> None:
    _in_memory(given)
    Path("digits/report.html").write_text("edited")
    run("push", "digits", "memory://bucket/other", code=None)


@example("TFB9114")
def publication_during_a_push(given: Given) -> None:
    from bundler.delivery.stores.store import Store

    address = _in_memory(given)
    _rewrite_entry("report.html", b"another report")
    real = Store.upload

    def upload(self: Store, *arguments: Any) -> None:
        self.write("bundle.json", b"by another tool")
        real(self, *arguments)

    given.patch.setattr(Store, "upload", upload)
    run("push", "digits", address, code=None)


@example("TFB9115")
def push_of_fewer_versions(given: Given) -> None:
    from dataclasses import replace

    from bundler.bundle.manifest import Manifest

    address = _in_memory(given)
    manifest = Manifest.read(Path("digits/bundle.json"))
    Path("digits/bundle.json").write_bytes(replace(manifest, models={}, files={}).to_bytes())
    run("push", "digits", address, code=None)


@example("TFB9116")
def pull_into_other_files(given: Given) -> None:
    address = _in_memory(given)
    Path("photos").mkdir()
    Path("photos/cat.jpg").touch()
    run("pull", address, "-o", "photos", code=None)


@example("TFB9117")
def registry_for_a_store(given: Given) -> None:
    run("serve", "oci://registry.example.com/models/digits:1", code=None)


def two_models(given: Given) -> None:
    """Write a bundle.yaml with two models."""
    text = "models: [{name: a, source: model.onnx}, {name: b, source: model.onnx}]"
    Path("bundle.yaml").write_text(text, "utf-8")
    given.model()


class Failing:
    """An engine that gives every unit the same outcome."""

    def __init__(self, **outcome: Any) -> None:
        self.outcome = outcome

    def run(self, units: Any, cache: Any, hooks: Any) -> Any:
        from bundler.many.engine import Outcome

        for unit in units:
            yield Outcome(unit, **self.outcome)


def engine(given: Given, made: object) -> None:
    """Let builds of many models run on an engine."""
    given.patch.setattr("bundler.operations.many.ManyOptions.engine", lambda options: made)
    given.patch.setenv("TFBUNDLE_CACHE_DIR", "cache")


@example("TFB5201")
def process_that_dies(given: Given) -> None:
    from bundler.many.engine import died
    from bundler.many.units import Unit

    engine(given, Failing(error=died(Unit(0, "model", "", ""), "was ended by SIGKILL.")))
    run("build", given.model(), "--jobs", "2", code=None)


@example("TFB5202")
def entry_that_is_damaged_while_it_is_used(given: Given) -> None:
    from bundler.many.cache import CacheEntry

    engine(given, Failing(entry=CacheEntry("0", Path("cache/models/entries/0"), "model")))
    run("build", given.model(), "--jobs", "2", code=None)


@example("TFB5203")
def disk_that_is_full_of_cache(given: Given) -> None:
    import errno

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "cache/models/drafts")

    given.patch.setenv("TFBUNDLE_CACHE_DIR", "cache")
    given.patch.setattr("bundler.many.cache.Cache._draft", full)
    run("build", given.model(), "--jobs", "2", code=None)


@example("TFB5204")
def cache_that_is_a_file(given: Given) -> None:
    Path("cache").write_text("", "utf-8")
    run("build", given.model(), "--cache", "cache", code=None)


@example("TFB5205")
def models_that_fail(given: Given) -> None:
    from bundler.errors import ParityError

    two_models(given)
    engine(given, Failing(error=ParityError("The SavedModel differs from ONNX Runtime.")))
    run("build", "bundle.yaml", "--jobs", "2", "-o", "dist", code=None)


command("TFB5206", "build", "nets/*/bundle.yaml")


command("TFB5207", "build", "model.onnx", "--shard", "3/2")


@example("TFB5208")
def shards_where_there_are_none(given: Given) -> None:
    Path("shards").mkdir()
    run("merge", "shards", "-o", "dist", code=None)


def shard(given: Given) -> None:
    """Build the first of two shards."""
    from bundler.errors import ParityError

    two_models(given)
    engine(given, Failing(error=ParityError("The SavedModel differs from ONNX Runtime.")))
    run("build", "bundle.yaml", "--shard", "1/2", "-o", "shards", code=None)


@example("TFB5209")
def shard_that_was_changed(given: Given) -> None:
    shard(given)
    file = Path("shards/shard-1-of-2/shard.json")
    file.write_text(file.read_text("utf-8").replace("differs", "equals"), "utf-8")
    run("merge", "shards", "-o", "dist", code=None)


@example("TFB5210")
def shard_that_is_missing(given: Given) -> None:
    shard(given)
    run("merge", "shards", "-o", "dist", code=None)


@example("TFB5211")
def files_that_contradict_each_other(given: Given) -> None:
    for name, port in {"one": 8500, "two": 9000}.items():
        text = f"models: [{{name: {name}, source: model.onnx}}]\nserving: {{grpc_port: {port}}}\n"
        Path(name).with_suffix(".yaml").write_text(text, "utf-8")
    run("build", "one.yaml", "two.yaml", code=None)


def build_job(given: Given, **settings: Any) -> None:
    """Write the Jobs of a bundle.yaml with one model."""
    section = {"image": "builder:1", "meet": "s3://bucket/builds", "output": "s3://bucket/digits", **settings}
    models = [{"name": "digits", "source": given.model()}]
    Path("bundle.yaml").write_text(json.dumps({"models": models, "kubernetes": {"build_job": section}}), "utf-8")
    run("build-job", "bundle.yaml", code=None)


@example("TFB5251")
def job_without_an_image(given: Given) -> None:
    build_job(given, image=None)


@example("TFB5252")
def cluster_without_a_port(given: Given) -> None:
    run("build", given.model(), "--on", "head.example.com", code=None)


class Cluster:
    """A cluster whose nodes say `answers`, and whose tasks end with `message`."""

    shown = "the Ray cluster at ray://head:10001"

    def __init__(self, answers: list[dict[str, Any]], message: Any = None) -> None:
        self.answers, self.message = answers, message
        self.keys: list[int] = []

    def examine(self, units: Any, expected: Any) -> list[dict[str, Any]]:
        return self.answers

    def nodes(self) -> list[dict[str, Any]]:
        return []

    def put(self, chunk: bytes) -> bytes:
        return chunk

    def start(self, key: int, arguments: Any, options: Any) -> None:
        self.keys.append(key)

    def receive(self, timeout_s: float) -> Any:
        said = [(key, self.message) for key in self.keys]
        self.keys = []
        return said, 1


def on_ray(given: Given, cluster: Cluster, source: str = "") -> None:
    """Build a model on a cluster."""
    from contextlib import nullcontext

    from bundler.many.cluster.engine import RayEngine

    given.patch.setattr("bundler.many.cluster.session.connected", lambda address, cpus: nullcontext(cluster))
    engine(given, RayEngine("ray://head:10001", patience_s=0))
    run("build", source or given.model(), "--on", "ray://head:10001", code=None)


FIT = [{"name": "ray-worker-7", "unfit": "", "requests": ["0"]}]


@example("TFB5253")
def node_with_other_versions(given: Given) -> None:
    reason = "other versions are installed there: torch 2.8.0 (here 2.9.1)"
    on_ray(given, Cluster([{"name": "ray-worker-7", "unfit": reason, "requests": []}]))


@example("TFB5254")
def nodes_that_vanish(given: Given) -> None:
    on_ray(given, Cluster(FIT, ("lost", ("node", "The node died."))))


@example("TFB5255")
def cluster_without_nodes(given: Given) -> None:
    on_ray(given, Cluster([]))


@example("TFB5257")
def source_outside_the_folder(given: Given) -> None:
    given.model()
    Path("nets").mkdir()
    Path("nets/bundle.yaml").write_text("models: [{name: digits, source: ../model.onnx}]\n", "utf-8")
    on_ray(given, Cluster(FIT), "nets/bundle.yaml")


@example("TFB5258")
def shard_that_does_not_come(given: Given) -> None:
    shard(given)
    run("merge", "shards", "-o", "dist", "--wait", "0.1", code=None)
