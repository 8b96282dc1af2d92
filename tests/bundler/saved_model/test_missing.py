"""What releases lack for a SavedModel. The expectations were seen in the C++ loader of each release (LoadSavedModel).

The names of the signatures say what happened: `webp` could not be called before 2.20 ("Op type not registered 'DecodeWebP'"),
`steps` before 2.18 and `rows` before 2.13 ("No OpKernel was registered"), and `spectrum` in any release; `lookup` and
`plain` answered in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import VerifyError
from bundler.saved_model.missing import LOADING, missing
from bundler.saved_model.releases import known_releases, read_release
from serving.protocol.messages import message
from serving.protocol.saved_model_file import BINARY, read_saved_model

SIGNATURES = ("lookup", "plain", "rows", "spectrum", "steps", "webp")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with a signature for each kind of lack."""
    import tensorflow as tf

    raw = tf.raw_ops
    image, rows = tf.TensorSpec([], tf.string, name="x"), tf.TensorSpec([None, 4], tf.float32, name="x")
    half = tf.TensorSpec([None, 4], tf.float16, name="x")
    functions: dict[str, tuple[Any, Any]] = {
        "lookup": (rows, lambda x: raw.GatherNd(params=x, indices=[[0, 1]], bad_indices_policy="IGNORE")),
        "plain": (rows, lambda x: raw.TopKV2(input=x * module.weight, k=2)[1]),
        "rows": (rows, lambda x: raw.GatherV2(params=x, indices=tf.constant([0], tf.int16), axis=0)),
        "spectrum": (rows, lambda x: tf.abs(raw.RFFTND(input=x, fft_length=[4], axes=[1], Tcomplex=tf.complex64))),
        "steps": (half, lambda x: raw.Range(start=x[0, 1], limit=x[0, 0], delta=x[0, 2])),
        "webp": (image, lambda x: raw.DecodeWebP(contents=x, channels=3)),
    }
    module = tf.Module()
    module.weight = tf.Variable([1.0] * 4)
    traced = {}
    for name, (spec, function) in functions.items():
        call = tf.function(lambda x, function=function: {"y": function(x)}, input_signature=[spec], autograph=False)
        traced[name] = call.get_concrete_function()
    folder = tmp_path_factory.mktemp("model") / "1"
    tf.saved_model.save(module, str(folder), signatures=traced)
    return folder


def found(folder: Path, release: str, signature: str) -> list[tuple[str, str]]:
    """Return what a release lacks for a signature, and the effect."""
    return [(str(lack), lack.effect) for lack in missing(folder, read_release(release)).lacks_of(signature)]


def test_an_operator_that_is_not_registered_ends_the_calls_of_the_signatures_that_run_it(model: Path) -> None:
    assert found(model, "2.19", "webp") == [("DecodeWebP is not registered", "call")]
    assert found(model, "2.20", "webp") == []


def test_types_without_a_kernel_are_named(model: Path) -> None:
    assert found(model, "2.17", "steps") == [("Range has no CPU kernel for Tidx = float16", "call")]
    assert found(model, "2.18", "steps") == []
    assert found(model, "2.12", "rows") == [("GatherV2 has no CPU kernel for Tindices = int16, Tparams = float32", "call")]
    assert found(model, "2.13", "rows") == []
    assert found(model, "2.21", "spectrum") == [("RFFTND has no CPU kernel", "call")]


def test_an_unknown_attribute_counts_only_with_another_value_than_its_default(model: Path) -> None:
    """GatherNd's `bad_indices_policy` came with 2.17, TopKV2's `index_type`, which has its default here, with 2.13."""
    expected = [("GatherNd does not know the attribute bad_indices_policy = 'IGNORE' and ignores it", "answers")]
    assert found(model, "2.16", "lookup") == expected
    assert found(model, "2.17", "lookup") == []
    assert found(model, "2.12", "plain") == []


def test_a_default_that_was_written_out_counts_as_the_default(model: Path, tmp_path: Path) -> None:
    folder = edited(model, tmp_path, lambda graph: _set_policy(graph, b""))
    assert found(folder, "2.12", "lookup") == []


def test_an_attribute_that_changes_no_result_does_not_count(model: Path) -> None:
    """TensorFlow names each variable in VarHandleOp's `debug_name`, which 2.12 to 2.14 do not know."""
    nodes = read_saved_model(model).meta_graphs[0].graph_def.node
    assert any(node.op == "VarHandleOp" and node.attr["debug_name"].s for node in nodes)
    assert found(model, "2.12", LOADING) == []


def test_the_nodes_and_the_signatures_are_named(model: Path) -> None:
    lacks = missing(model, read_release("2.19")).lacks
    assert [(lack.op, lack.nodes, lack.signatures) for lack in lacks] == [
        ("DecodeWebP", ("DecodeWebP",), ("webp",)),
        ("RFFTND", ("RFFTND",), ("spectrum",)),
    ]
    assert missing(model, read_release("2.19")).signatures == SIGNATURES


def test_other_signatures_load_unless_warm_up_records_call_the_failing_one(model: Path, tmp_path: Path) -> None:
    folder = edited(model, tmp_path, lambda graph: None)
    assert missing(folder, read_release("2.19")).loads
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"")
    assert not missing(folder, read_release("2.19")).loads


def edited(model: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    """Return a copy of the model's graph with a change."""
    saved = read_saved_model(model)
    change(saved.meta_graphs[0])
    (folder / BINARY).write_bytes(saved.SerializeToString())
    return folder


def _set_policy(graph: Any, policy: bytes) -> None:
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    next(node for node in nodes if node.op == "GatherNd").attr["bad_indices_policy"].s = policy


def _add(graph: Any, op: str, **attributes: Any) -> None:
    graph.graph_def.node.add(name="extra", op=op)
    for name, value in attributes.items():
        graph.graph_def.node[-1].attr[name].CopyFrom(value)


def test_an_unregistered_operator_of_the_main_graph_ends_the_load(model: Path, tmp_path: Path) -> None:
    folder = edited(model, tmp_path, lambda graph: _add(graph, "DecodeWebP"))
    fit = missing(folder, read_release("2.19"))
    lack = next(lack for lack in fit.lacks if "extra" in lack.nodes)
    assert (lack.effect, lack.signatures, fit.loads) == ("load", (), False)


def test_an_operator_in_a_function_that_nothing_calls_does_no_harm(model: Path, tmp_path: Path) -> None:
    folder = edited(model, tmp_path, lambda graph: graph.signature_def.pop("webp"))
    assert [lack.op for lack in missing(folder, read_release("2.19")).lacks] == ["RFFTND"]


def test_a_node_of_the_main_graph_that_nothing_runs_only_has_to_be_complete(model: Path, tmp_path: Path) -> None:
    """In 2.12 and 2.20, only the Cast kept Session::Extend from accepting the graph ("No attr named 'DstT'")."""

    def change(graph: Any) -> None:
        _add(graph, "Cast", SrcT=value(type=1))
        _add(graph, "BatchMatrixDiag", T=value(type=1))  # taken out of use with GraphDef version 14
        _add(graph, "MaxPool", ksize=value(list={"i": [1]}), strides=value(list={"i": [1]}), padding=value(s=b"AROUND"))
        _add(graph, "Neg", T=value(type=1), nonsense=value(s=b"x"))
        _add(graph, "_FusedConv2D")

    value = message("tensorflow.AttrValue")
    fit = missing(edited(model, tmp_path, change), read_release("2.20"))
    assert [(str(lack), lack.effect) for lack in fit.lacks if "extra" in lack.nodes] == [
        ("Cast requires the attribute DstT, which the node does not have", "load")
    ]


def test_a_value_that_the_release_does_not_allow_ends_the_call(model: Path, tmp_path: Path) -> None:
    def change(graph: Any) -> None:
        nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
        next(node for node in nodes if node.op == "TopKV2").attr["T"].type = 7

    folder = edited(model, tmp_path, change)
    assert found(folder, "2.20", "plain") == [("TopKV2 does not allow T = string", "call")]


@pytest.mark.parametrize(
    ("field", "number", "text"),
    [
        ("min_consumer", 9999, "the graph needs GraphDef version 9999; the release reads up to 1482"),
        ("bad_consumers", 1482, "the graph excludes readers of GraphDef version 1482, which is the release's"),
    ],
)
def test_the_graph_s_version_counts(model: Path, tmp_path: Path, field: str, number: int, text: str) -> None:
    def change(graph: Any) -> None:
        versions = graph.graph_def.versions
        versions.bad_consumers.append(number) if field == "bad_consumers" else setattr(versions, field, number)

    fit = missing(edited(model, tmp_path, change), read_release("2.13"))
    assert (str(fit.lacks[0]), fit.lacks[0].effect, fit.loads) == (text, "load", False)


def test_a_model_of_today_is_served_by_every_known_release(small_bundle: Path) -> None:
    for release in known_releases():
        assert missing(small_bundle / "models" / "mlp" / "1", read_release(release)).lacks == ()


def test_names_and_values_of_a_stranger_are_short_and_harmless(model: Path, tmp_path: Path) -> None:
    folder = edited(model, tmp_path, lambda graph: _set_policy(graph, b"\x1b[31m" + b"x" * 10**6))
    ((text, _),) = found(folder, "2.16", "lookup")
    assert text.startswith("GatherNd does not know the attribute bad_indices_policy = '\\x1b[31mxxx")
    assert len(text) < 250


def test_a_missing_or_damaged_saved_model_is_one_error(model: Path, tmp_path: Path) -> None:
    release = read_release("2.13")
    with pytest.raises(VerifyError, match=r"has no SavedModel that can be read: there is no saved_model\.pb"):
        missing(tmp_path, release)
    (tmp_path / BINARY).write_bytes(b"\xff\xff")
    with pytest.raises(VerifyError, match=r"has no SavedModel that can be read: .*is damaged"):
        missing(tmp_path, release)
    folder = edited(model, tmp_path, lambda graph: graph.meta_info_def.tags.pop())
    with pytest.raises(VerifyError, match="has no graph with the tag 'serve'"):
        missing(folder, release)
