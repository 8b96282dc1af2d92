"""Client, smoke test and warm-up records with the embedded server and a real SavedModel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from bundler.saved_model.warmup import write_warmup
from serving import Client, RequestError
from serving.golden.data import Golden, GoldenCase
from serving.launch.server_process import ServerEndpoints, server_process
from serving.smoke.run import GoldenFile, golden_files, run
from tests.serving.clients import BlockingAsyncClient
from tests.serving.golden_data import save


class Mixed(tf.Module):
    """Signatures of several dtypes over one variable."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)

    def save(self, folder: Path) -> None:
        def spec(dtype: tf.DType, *dims: int | None) -> tf.TensorSpec:
            return tf.TensorSpec([None, *dims], dtype)

        def default(x: tf.Tensor, ids: tf.Tensor, flag: tf.Tensor) -> dict[str, tf.Tensor]:
            y = x * self.weight
            return {"y": y, "sums": tf.reduce_sum(ids, axis=1), "not": tf.logical_not(flag)}

        def text(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"joined": tf.strings.join([text, text])}

        def narrow(h: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"h2": h * tf.constant(2, tf.float16), "b2": b * tf.constant(2, tf.bfloat16)}

        functions = {
            "serving_default": (default, {"x": spec(tf.float32, 3), "ids": spec(tf.int64, 2), "flag": spec(tf.bool)}),
            "text": (text, {"text": spec(tf.string)}),
            "narrow": (narrow, {"h": spec(tf.float16), "b": spec(tf.bfloat16)}),
        }
        signatures = {n: tf.function(f).get_concrete_function(**specs) for n, (f, specs) in functions.items()}
        self.functions = signatures
        tf.saved_model.save(self, str(folder), signatures=signatures)


def golden(weight: float) -> Golden:
    rng = np.random.default_rng(3)

    def default(batch: int) -> GoldenCase:
        x = rng.normal(size=(batch, 3)).astype(np.float32)
        ids = rng.integers(-(2**40), 2**40, (batch, 2))
        flag = rng.integers(0, 2, batch).astype(bool)
        outputs = {"y": x * np.float32(weight), "sums": ids.sum(axis=1), "not": ~flag}
        return GoldenCase("serving_default", f"batch-{batch}", {"x": x, "ids": ids, "flag": flag}, outputs)

    text = np.array(["a", "ä\n", ""])
    half, narrow = np.array([1.5, -2], np.float16), np.array([0.1, 3], ml_dtypes.bfloat16)
    bits = {"in": narrow.view(np.uint16), "out": (narrow * 2).astype(ml_dtypes.bfloat16).view(np.uint16)}
    cases = (
        default(1),
        default(5),
        GoldenCase("text", "a", {"text": text}, {"joined": np.char.add(text, text)}),
        GoldenCase("narrow", "a", {"h": half, "b": bits["in"]}, {"h2": half * 2, "b2": bits["out"]}),
    )
    return Golden("mixed", 1e-6, cases, ("narrow/a/in/b", "narrow/a/out/b2"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 4 answers what its golden data says; the weight of version 5 was changed afterwards."""
    base = tmp_path_factory.mktemp("models") / "mixed"
    for version, weight in ((4, 2.5), (5, 2.6)):
        Mixed(weight).save(base / str(version))
        warmup = base / str(version) / "assets.extra" / "tf_serving_warmup_requests"
        assert write_warmup(golden(2.5), "mixed", warmup) == 4
        save(base.parent / "golden", golden(2.5), version)
    return base


@pytest.fixture(scope="module")
def endpoints(base: Path) -> Iterator[ServerEndpoints]:
    config = base.parent / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "mixed" base_path: "{base}" model_platform: "tensorflow"'
        " model_version_policy { all {} }"
        ' version_labels { key: "stable" value: 4 } } }'
    )
    with server_process(config) as endpoints:
        yield endpoints


def files(base: Path, version: int) -> list[GoldenFile]:
    return [file for file in golden_files(base.parent / "golden") if file.version == version]


def test_the_smoke_test_passes(endpoints: ServerEndpoints, base: Path) -> None:
    report = run(endpoints.grpc_target, files(base, 4), rest=endpoints.rest_target, timeout=20)
    assert report.passed, report.failures
    assert [check.what for check in report.skipped] == ["predict narrow a"]


def test_a_changed_weight_fails_only_the_checks_it_affects(endpoints: ServerEndpoints, base: Path) -> None:
    report = run(endpoints.grpc_target, files(base, 5), rest=endpoints.rest_target, timeout=20)
    assert {(c.over, c.what) for c in report.failures} == {
        ("gRPC", "predict serving_default batch-1"),
        ("gRPC", "predict serving_default batch-5"),
        ("REST", "predict serving_default batch-1 (columns)"),
        ("REST", "predict serving_default batch-1 (rows)"),
        ("REST", "predict serving_default batch-5 (columns)"),
    }
    for check in report.failures:
        assert check.message.startswith("output 'y' at [")
        assert check.max_rel == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("kind", ["grpc", "rest"])
@pytest.mark.parametrize("client_class", [Client, BlockingAsyncClient])
def test_the_client_talks_to_the_embedded_server(endpoints: ServerEndpoints, client_class: type[Client], kind: str) -> None:
    with client_class(endpoints.grpc_target if kind == "grpc" else endpoints.rest_target) as client:
        assert client.wait_until_ready("mixed", 5, timeout=10).available
        x = np.ones((2, 3), np.float32)
        rest = {"ids": [[1, 2], [3, 4]], "flag": [True, False]}
        for label, version, want in (("stable", None, 2.5), (None, 5, 2.6), (None, None, 2.6)):
            got = client.predict("mixed", rest, x=x, label=label, version=version)
            np.testing.assert_array_equal(got["y"], x * np.float32(want))
            assert got["sums"].tolist() == [3, 7]
            assert got["not"].tolist() == [False, True]
        info = client.metadata("mixed", label="stable")
        assert info.version == 4
        assert {str(t) for t in info.signatures["text"].inputs.values()} == {"string[?]"}
        with pytest.raises(RequestError, match="nope"):
            client.predict("mixed", rest, x=x, signature="nope")
        with pytest.raises(RequestError) as caught:
            client.predict("mixed", x=x, version=6)
        assert caught.value.status == "NOT_FOUND"
