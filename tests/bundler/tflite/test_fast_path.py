"""The model.tflite next to a SavedModel: the same signature and outputs, and errors if TensorFlow Serving cannot serve it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import bundler
from bundler.cli.app import app
from bundler.errors import ParityError, TfliteError, UsageError
from bundler.operations.smoke import served_golden_files
from bundler.saved_model.summarize import signature_def
from bundler.tflite.fast_path import FastPath, check_signature
from bundler.tflite.flatbuffer import add_metadata
from bundler.validation.bundle import Bundle
from bundler.validation.golden_check import check_golden
from bundler.values.comparison import FAST_PATH, Row
from bundler.values.signature import Signature, TensorSpec
from serving import Client, Server
from serving.golden.compare import Difference
from serving.golden.data import Golden
from serving.protocol.tflite_file import SIGNATURE_DEFS, read_metadata, unpack_signatures
from serving.smoke.run import run


class Net(nn.Module):
    """Convolutions that XNNPACK runs, with a dynamic batch."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Hardswish(), nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(self.body(image).mean((2, 3)))
        return logits, logits.argmax(1)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Net().eval()


@pytest.fixture(scope="module")
def bundle(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("dist") / "net"
    return bundler.build(
        net, torch.randn(2, 3, 16, 16), out, name="net", outputs=("logits", "label"), fast_path=True
    )


def test_bundle_json_has_measurements_and_parity(bundle: Bundle) -> None:
    record = bundle.record("net")
    figures = record["fast_path"]
    file = bundle.layout.fast_path_file("net", 1)
    assert figures["size_bytes"] == file.stat().st_size
    assert set(figures["latency_ms"]) == {"1", "2"}
    assert figures["operators"]["CONV_2D"] == 1
    rows = [row for row in record["parity"]["results"] if row["runtime"] == "tflite-fast-path"]
    assert {row["draw"] for row in rows} == {"example", "random", "batch-1", "batch-5"}
    assert {row["output"] for row in rows} == {"logits", "label"}
    assert all(row["gated"] and row["passed"] for row in rows)
    assert bundle.verify() == []


def test_signature_is_that_of_the_saved_model_with_the_files_tensor_names(bundle: Bundle) -> None:
    folder = bundle.layout.version_dir("net", 1)
    entry = read_metadata((folder / "model.tflite").read_bytes())[SIGNATURE_DEFS]
    (name, got), *others = unpack_signatures(entry).items()
    want = signature_def(folder, "serving_default")
    assert (name, others) == ("serving_default", [])
    names = {info.name for side in (got.inputs, got.outputs) for info in side.values()}
    assert len(names) == 3
    for side in ("inputs", "outputs"):
        for alias, info in getattr(got, side).items():
            info.name = getattr(want, side)[alias].name
    assert got == want


def test_rendered_server_flags_prefer_the_file(bundle: Bundle) -> None:
    for part in ("serving/README.md", "k8s/base/deployment.yaml", "docker/Dockerfile"):
        text = (bundle.path / part).read_text("utf-8")
        assert "--prefer_tflite_model=true" in text and "--num_tflite_pools=2" in text, part
    assert "fast_path" in json.dumps(bundle.inspect())


def test_embedded_server_serves_the_file_and_passes_the_smoke_test(bundle: Bundle) -> None:
    files = served_golden_files(bundle)
    with Server(bundle.path) as server:
        with server.core.servable(_spec("net")) as handle:
            assert type(handle.servable).__name__ == "TfliteServable"
        target = f"127.0.0.1:{server.grpc_port}"
        report = run(target, files, rest=f"127.0.0.1:{server.rest_port}", timeout=30)
    assert report.passed and len(report.checks) > 4
    with Server(bundle.path, prefer_tflite=False) as server, server.core.servable(_spec("net")) as handle:
        assert type(handle.servable).__name__ == "SavedModelServable"


def _spec(name: str) -> Any:
    from serving.protocol.messages import serving_message

    return serving_message("ModelSpec")(name=name)


@pytest.mark.slow
def test_concurrent_calls_of_many_sizes_get_pytorchs_outputs(bundle: Bundle, net: nn.Module) -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1 + n % 7, 3, 16, 16)).astype(np.float32) for n in range(60)]
    with torch.no_grad():
        expected = [net(torch.from_numpy(image))[0].numpy() for image in images]
    with Server(bundle.path, tflite_pool_size=3) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:

        def call(image: Any) -> Any:
            return client.predict("net", image=image)["logits"]

        with ThreadPoolExecutor(8) as threads:
            got = list(threads.map(call, images))
    for want, logits in zip(expected, got, strict=True):
        assert logits.dtype == np.float32 and logits.shape == want.shape
        np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)


def test_verify_checks_both_files(bundle: Bundle, net: nn.Module, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    shutil.copytree(bundle.layout.version_dir("net", 1), folder)
    golden = Golden.load(bundle.layout.golden_file("net", 1))
    assert check_golden(golden, folder).passed
    content, bias = (folder / "model.tflite").read_bytes(), net.head.bias.detach().numpy()
    assert content.count(bias.tobytes()) == 1
    content = content.replace(bias.tobytes(), (bias + 1).tobytes())
    (folder / "model.tflite").write_bytes(content)
    report = check_golden(golden, folder)
    assert {row.runtime for row in report.failures} == {"tflite-fast-path"}
    (folder / "model.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(60))
    assert {row.runtime for row in check_golden(golden, folder).failures} == {"tflite-fast-path"}


@pytest.mark.slow
def test_file_with_other_outputs_than_pytorch_is_not_published(
    net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(converted: Any, references: Any, saved_model: Path, target: Path, work: Path) -> FastPath:
        target.write_bytes(b"")
        far = Difference("output_0", 1.0, 1.0)
        return FastPath(target, {1: 1.0}, (Row("serving_default", "example", FAST_PATH, far),), {})

    monkeypatch.setattr("bundler.tflite.fast_path.build_fast_path", wrong)
    with pytest.raises(ParityError, match="tflite-fast-path"):
        bundler.build(net, torch.randn(2, 3, 16, 16), tmp_path / "x", name="net", fast_path=True)
    assert not (tmp_path / "x").exists()


def spec(text: str) -> TensorSpec:
    return TensorSpec.parse(text)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (("x=float64[batch,3]",), r"supports only .*, not float64"),
        (("x=string[batch]",), r"supports only .*, not string"),
        (("x=float32[]",), "does not support inputs without axes"),
    ],
)
def test_signature_that_tensorflow_serving_cannot_serve_is_rejected(inputs: tuple[str, ...], message: str) -> None:
    signature = Signature(tuple(map(spec, inputs)), (spec("y=float32[batch]"),))
    with pytest.raises(TfliteError, match=message) as info:
        check_signature(signature)
    assert "fast_path: false" in str(info.value)


class Encoder(nn.Module):
    """A masked attention over embeddings, followed by a recurrent layer, with a dynamic batch and length."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.qkv, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)
        self.recurrent = nn.LSTM(16, 8, batch_first=True, bidirectional=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        heads = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*heads.unbind(), attn_mask=mask.bool()[:, None, None])
        x = self.norm(x + self.out(attended.transpose(1, 2).flatten(2)))
        return self.recurrent(x)[0]


@pytest.mark.slow
def test_several_inputs_of_dynamic_sizes_are_served(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Encoder().eval()

    def call(rows: int, length: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(rows * length).reshape(rows, length) * 7 % 50
        return {"ids": ids, "mask": (ids % 3 != 1).long().index_fill(1, torch.tensor([0]), 1)}

    built = bundler.build(
        module, call(2, 6), tmp_path / "x", name="net", fast_path=True, outputs=("y",),
        inputs=("ids=int64[batch,seq]", "mask=int64[batch,seq]"),
    )  # fmt: skip
    with Server(built.path) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        for rows, length in ((1, 6), (2, 9), (5, 6), (1, 4), (2, 9)):
            inputs = call(rows, length)
            with torch.no_grad():
                want = module(**inputs).numpy()
            got = client.predict("net", **{name: tensor.numpy() for name, tensor in inputs.items()})["y"]
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(x) * 2
        return y, y + 0

    def other(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_additional_signatures_are_rejected_before_any_work(tmp_path: Path) -> None:
    events: list[Any] = []
    with pytest.raises(UsageError, match="additional signatures"):
        bundler.build(
            Twice(), torch.randn(2, 3), tmp_path / "x", name="m", signatures={"other": {"method": "other"}},
            fast_path=True, progress=events.append,
        )  # fmt: skip
    assert events == []


@pytest.mark.slow
def test_outputs_that_become_one_tensor_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TfliteError, match="are the same tensor in the file") as info:
        bundler.build(Twice(), torch.randn(2, 3), tmp_path / "x", name="m", outputs=("a", "b"), fast_path=True)
    assert "a, b" in str(info.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_error_names_an_operator_that_tflite_lacks(tmp_path: Path) -> None:
    class Inverse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.det(x)

    with pytest.raises(TfliteError, match=r"model\.tflite could not be built.*\n.*MatrixDeterminant"):
        bundler.build(Inverse(), torch.randn(2, 3, 3), tmp_path / "x", name="m", fast_path=True)


@pytest.mark.parametrize(
    ("serving", "own", "built"), [(True, None, True), (True, False, False), (False, True, True), (False, None, False)]
)
def test_the_models_setting_overrides_the_bundles(serving: bool, own: bool | None, built: bool) -> None:
    from bundler.spec.bundle_spec import parse_spec

    model = {"name": "m", "source": "m.onnx", **({} if own is None else {"fast_path": own})}
    parsed = parse_spec({"models": [model], "serving": {"fast_path": serving}}, where="the test")
    assert parsed.has_fast_path(parsed.models[0]) is built
    assert parsed.prefers_tflite is (serving or bool(own))


@pytest.mark.slow
def test_command_line_option_builds_the_fast_path(mlp_onnx: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["build", str(mlp_onnx), "--fast-path", "-o", str(tmp_path / "x")])
    assert result.exit_code == 0, result.output
    assert Bundle.open(tmp_path / "x").layout.fast_path_file("mlp", 1).is_file()


@pytest.fixture
def lite(bundle: Bundle) -> bytes:
    return bundle.layout.fast_path_file("net", 1).read_bytes()


def test_metadata_is_added_and_replaced_and_weights_stay_aligned(lite: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    changed = add_metadata(add_metadata(lite, {"a": b"1", "b": b"22"}), {"b": b"333"})
    entries = read_metadata(changed)
    assert (entries["a"], entries["b"]) == (b"1", b"333")
    assert entries[SIGNATURE_DEFS] == read_metadata(lite)[SIGNATURE_DEFS]
    model = schema.Model.GetRootAs(changed, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    offsets = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(offsets) > 4
    assert {offset % 16 for offset in offsets} == {0}


def test_file_with_external_weights_is_rejected(lite: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(lite, 0)
    model.buffers[1].offset, model.buffers[1].size = 4096, 64
    pack: Callable[[Any], bytes] = _packed
    with pytest.raises(TfliteError, match="over 2 GiB"):
        add_metadata(pack(model), {"a": b""})


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
