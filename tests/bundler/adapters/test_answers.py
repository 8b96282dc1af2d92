"""Classify, Regress and tf.Example signatures: built, verified, and called over gRPC and REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bundler
from bundler.adapters.answers import ClassifyAdapter
from bundler.errors import SpecError, UsageError
from bundler.saved_model.summarize import methods
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.signature_spec import ClassifySpec
from bundler.validation.bundle import Bundle
from bundler.values.signature import TensorSpec
from serving import Client, RequestError
from serving.client.examples import CLASSIFY, REGRESS
from serving.protocol.messages import serving_message
from tests.bundler.adapters.networks import clients, flowers, passed_requests, saved_model, smoke
from tests.models import load_example

NAMES = ("setosa", "versicolor", "virginica")
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]], np.float32)
SIGNATURES: dict[str, Any] = {
    "best": {"classify": {"softmax": True, "top_k": 2}},
    "embed": {"method": "embed"},
    "size": {"of": "embed", "regress": {}},
    "whole": {"of": "embed", "examples": {"features": {"measures": "flower/measures=float32[2,2]"}}},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("flowers")
    (folder / "labels.txt").write_text("\n".join(NAMES), "utf-8")
    labels = str(folder / "labels.txt")
    example = torch.from_numpy(ROWS)
    return bundler.build(flowers(), (example,), folder / "dist", name="flowers", labels=labels, signatures=SIGNATURES)


@pytest.fixture(scope="module")
def both_clients(bundle: Bundle) -> Iterator[tuple[Client, Client]]:
    with clients(bundle) as pair:
        yield pair


def logits() -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return flowers()(torch.from_numpy(ROWS))["logits"].numpy()


def test_labels_give_a_classify_signature(both_clients: tuple[Client, Client]) -> None:
    for client in both_clients:
        rows = client.classify("flowers", [{"measures": row} for row in ROWS])
        assert [[label for label, _ in row] for row in rows] == [list(NAMES)] * 2
        np.testing.assert_allclose([[score for _, score in row] for row in rows], logits(), rtol=1e-5, atol=1e-6)


def test_top_k_classes_of_the_softmax(both_clients: tuple[Client, Client]) -> None:
    expected = np.exp(logits()) / np.exp(logits()).sum(1, keepdims=True)
    order = np.argsort(-expected, axis=1)[:, :2]
    for client in both_clients:
        rows = client.classify("flowers", [{"measures": row} for row in ROWS], signature="best")
        assert [[label for label, _ in row] for row in rows] == [[NAMES[i] for i in best] for best in order]
        np.testing.assert_allclose([[s for _, s in row] for row in rows], np.take_along_axis(expected, order, 1), rtol=1e-5)


def test_regress_returns_the_output_with_one_number_per_row(both_clients: tuple[Client, Client]) -> None:
    with torch.no_grad():
        expected = flowers().embed(torch.from_numpy(ROWS))["length"][:, 0].numpy()
    for client in both_clients:
        np.testing.assert_allclose(
            client.regress("flowers", [{"measures": row} for row in ROWS], signature="size"), expected, rtol=1e-5
        )


def test_declared_feature_has_another_name_and_shape(both_clients: tuple[Client, Client]) -> None:
    feature = serving_message("Input")().example_list.examples.add().features.feature
    feature["flower/measures"].float_list.value.extend(ROWS[1].tolist())
    example = serving_message("Input")().example_list.examples.add()
    example.features.feature["flower/measures"].CopyFrom(feature["flower/measures"])
    with torch.no_grad():
        expected = flowers().embed(torch.from_numpy(ROWS[1:]))
    for client in both_clients:
        serialized = np.array([example.SerializeToString()], object)
        got = client.predict("flowers", {"inputs": serialized}, signature="whole")
        assert set(got) == {"vector", "length"}
        np.testing.assert_allclose(got["vector"], expected["vector"].numpy(), rtol=1e-5, atol=1e-6)


def test_error_names_a_missing_feature(both_clients: tuple[Client, Client]) -> None:
    for client in both_clients:
        with pytest.raises(RequestError, match=r"measures.*required but could not be found") as info:
            client.classify("flowers", [{"height": [1.0]}])
        assert info.value.status == "INVALID_ARGUMENT"


def test_smoke_calls_each_signature_by_its_own_method_and_verify_passes(bundle: Bundle) -> None:
    report = smoke(bundle)
    for over in ("gRPC", "REST"):
        assert {f"{over} classify", f"{over} predict"} <= passed_requests(report, "classify")
        assert f"{over} regress" in passed_requests(report, "size")
        assert f"{over} predict" in passed_requests(report, "whole")
    assert bundle.verify() == []


def test_method_names_and_warm_up_records_match_the_signatures(bundle: Bundle) -> None:
    import tensorflow as tf

    names = methods(saved_model(bundle, "flowers"))
    assert {name: names[name] for name in ("classify", "best", "size")} == {
        "classify": CLASSIFY, "best": CLASSIFY, "size": REGRESS,
    }  # fmt: skip
    records = tf.data.TFRecordDataset(str(bundle.layout.warmup("flowers", 1))).as_numpy_iterator()
    kinds = [serving_message("PredictionLog").FromString(record).WhichOneof("log_type") for record in records]
    assert {kind: kind in kinds for kind in ("predict_log", "classify_log", "regress_log")} == {
        "predict_log": True, "classify_log": True, "regress_log": True,
    }  # fmt: skip


def test_all_signatures_share_one_variable(bundle: Bundle) -> None:
    import tensorflow as tf

    prefix = saved_model(bundle, "flowers") / "variables" / "variables"
    shapes = [sorted(shape) for _, shape in tf.train.list_variables(str(prefix))]
    assert shapes.count([4, 5000]) == 1


def test_examples_with_integers_booleans_and_floats(tmp_path: Path) -> None:
    module, rows = load_example("tabular_mlp").tabular_mlp()
    bundle = bundler.build(module, rows, tmp_path / "d", name="table", signatures={"price": {"regress": {}}})
    with torch.no_grad():
        expected = module.eval()(**rows)[:, 0].numpy()
    examples = [{name: array[i].numpy() for name, array in rows.items()} for i in range(2)]
    with clients(bundle) as both_clients:
        for client in both_clients:
            np.testing.assert_allclose(client.regress("table", examples, signature="price"), expected, rtol=1e-5)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("a", "b")}, r"score for each of the 2 labels, \[batch, 2\], but no output fits"),
        ({"labels": "nowhere.txt"}, "labels nowhere.txt cannot be read: No such file"),
        ({"labels": ("a", "b", "c"), "signatures": {"t": {"classify": {"top_k": 4}}}}, "top_k is 4, but there are only 3 labels"),
        ({"signatures": {"c": {"classify": {}}}}, "returns classes, but the model has no labels"),
        ({"signatures": {"r": {"regress": {}}}}, r"one number per row, \[batch\] or \[batch, 1\], but no output fits"),
        ({"signatures": {"r": {"regress": {"output": "price"}}}}, "uses the output 'price', which does not exist"),
        ({"signatures": {"e": {"examples": {"features": {"measures": "m=int64[5]"}}}}}, r"m=int64\[5\] does not fill"),
        ({"signatures": {"e": {"examples": {"features": {"x": "m=int64[4]"}}}}}, "names 'x', which is not an input"),
        pytest.param(
            {"labels": ("a", "b", "c"), "converter": "onnx-tf", "opset": 15}, "onnx-tf cannot build the signatures classify",
            marks=pytest.mark.slow,
        ),
        ({"labels": ("a", "b", "c"), "fast_path": True}, "has additional signatures"),
    ],
)
def test_spec_that_does_not_fit_the_model_is_rejected(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        bundler.build(flowers(), (torch.from_numpy(ROWS),), tmp_path / "d", name="flowers", **options)
    assert not list((tmp_path / "d").glob("models/*/*"))


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ({"classify": {}, "regress": {}}, "classify and regress cannot be combined"),
        ({"classify": {}, "method": "embed"}, "method cannot be set on a signature that wraps another one"),
        ({"of": "embed"}, "needs a conversion to wrap it with"),
        ({"of": "emb", "regress": {}}, "no signature 'emb' to wrap; choose one of serving_default"),
        ({"examples": {"features": {"x": "m=float64[4]"}}}, r"one of float32, int64, string, not float64; e.g. m=int64\[64\]"),
        ({"examples": {"features": {"x": "m=int64[n]"}}}, "the dims of a feature are those of one example, numbers"),
        ({"classify": {"labels": ["a", ""]}}, "'' is not a class name; labels are a list of names, or the path of a file"),
    ],
)
def test_invalid_signature_in_bundle_yaml_is_rejected(signature: dict[str, Any], message: str) -> None:
    model = {"name": "m", "source": "m.py:make", "signatures": {"s": signature}}
    with pytest.raises(SpecError, match=message):
        parse_spec({"models": [model]}, where="bundle.yaml")


def test_labels_may_be_numbers() -> None:
    spec = parse_spec({"models": [{"name": "m", "source": "m.py:make", "labels": [0, 1]}]}, where="bundle.yaml")
    assert spec.models[0].labels == ("0", "1")
    assert list(spec.models[0].derived) == ["classify"]


def test_rows_whose_labels_could_change_are_left_out_of_parity() -> None:
    outputs = (TensorSpec("logits", "float32", ("batch", 3)),)
    scores = {"logits": np.array([[3.0, 2.0, 1.0], [3.0, 2.99999, 1.0], [3.0, 1.0, 1.0]], np.float32)}
    best = ClassifyAdapter("best", outputs, ClassifySpec(top_k=1), NAMES)
    assert best.stable_rows(scores, 1e-4).tolist() == [True, False, True]
    everything = ClassifyAdapter("all", outputs, ClassifySpec(), NAMES)
    assert everything.stable_rows(scores, 1e-4).tolist() == [True] * 3
