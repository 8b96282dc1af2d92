"""Ordinary SavedModels pass; every way to reach a file through the saver, the assets or a function is found."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format

from serving.protocol.messages import message
from serving.protocol.saved_model_safety import unsafe_uses
from tests import hostile_models

MODELS = Path(__file__).parents[1] / "recorded" / "models"


class WithAssets(tf.Module):
    """A variable, a table that is read from a vocabulary, a mutable table, and a signature that reads an asset."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        self.variable = tf.Variable([1.0, 2.0])
        whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        source = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, whole, tf.int64, line)
        self.table = tf.lookup.StaticHashTable(source, -1)
        self.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.asset = tf.saved_model.Asset(str(vocabulary))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        content = tf.io.read_file(self.asset.asset_path)
        return {"ids": self.table.lookup(x), "content": content, "variable": self.variable, "more": self.mutable.lookup(x)}


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ordinary")
    (folder / "vocab.txt").write_text("a\nb\n")
    module = WithAssets(folder / "vocab.txt")
    tf.saved_model.save(module, str(folder / "model"), signatures=module.serve)
    return folder / "model"


@pytest.fixture
def model(ordinary: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ordinary, tmp_path / "model"))


def found(folder: Path) -> list[str]:
    return sorted({use.name for use in unsafe_uses(folder)})


def edit(model: Path, change: Callable[[Any], None]) -> list[str]:
    """Change the graph of a SavedModel, and return the names of what is unsafe then."""
    return found(hostile_models.edit(model, lambda saved: change(saved.meta_graphs[0])))


def node(graph: Any, name: str) -> Any:
    return next(node for node in graph.graph_def.node if node.name == name)


def function(graph: Any, part: str) -> Any:
    return next(function for function in graph.graph_def.library.function if part in function.signature.name)


def constant(nodes: Any, name: str, text: str) -> None:
    added = nodes.add(name=name, op="Const")
    added.attr["dtype"].type = 7
    added.attr["value"].tensor.dtype = 7
    added.attr["value"].tensor.string_val.append(text.encode())


def first(folder: Path) -> Path:
    return next(iter(sorted(folder.iterdir())))


@pytest.mark.parametrize("name", ["rows", "strs", "types", "clsreg", "nodefault"])
def test_recorded_models_are_safe(name: str) -> None:
    assert found(first(MODELS / name)) == []


def test_savers_own_tables_and_own_assets_are_safe(model: Path) -> None:
    assert found(model) == []


def test_a_model_that_was_loaded_and_saved_again_is_safe(model: Path, tmp_path: Path) -> None:
    loaded = tf.saved_model.load(str(model))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures["serving_default"])
    assert found(tmp_path / "again") == []


@pytest.fixture
def tensorflow_1(tmp_path: Path) -> Path:
    """Return a SavedModel of TensorFlow 1 with a variable and a table that is read from an asset, whose path is a constant."""
    v1 = tf.compat.v1
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], name="x")
        whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        source = tf.lookup.TextFileInitializer(str(tmp_path / "vocab.txt"), tf.string, whole, tf.int64, line)
        ids = tf.lookup.StaticHashTable(source, -1).lookup(x)
        scale = v1.get_variable("scale", [2])
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(tmp_path / "v1"))
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"ids": info(ids), "scale": info(scale.value())})
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, assets_collection=assets, main_op=v1.tables_initializer()
        )
        builder.save()
    return tmp_path / "v1"


def test_a_model_of_tensorflow_1_is_safe(tensorflow_1: Path) -> None:
    assert found(tensorflow_1) == []


def test_a_constant_path_is_an_asset_only_where_the_loader_feeds_it(tensorflow_1: Path) -> None:
    """A signature that runs the table's initializer would read the path that is stored in the graph."""

    def change(graph: Any) -> None:
        initializer = next(node for node in graph.graph_def.node if node.op == "InitializeTableFromTextFileV2")
        lookup = next(node for node in graph.graph_def.node if node.op == "LookupTableFindV2")
        lookup.input.append(f"^{initializer.name}")

    assert edit(tensorflow_1, change) == ["InitializeTableFromTextFileV2"]


def test_text_files_are_read_like_binary_ones(model: Path) -> None:
    hostile_models.edit(model, lambda saved: saved.meta_graphs[0].graph_def.node.add(name="read", op="MatchingFiles"))
    saved = message("tensorflow.SavedModel").FromString((model / "saved_model.pb").read_bytes())
    (model / "saved_model.pb").unlink()
    (model / "saved_model.pbtxt").write_text(text_format.MessageToString(saved))
    assert found(model) == ["MatchingFiles"]


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x12\x05ab"])
def test_a_damaged_file_is_an_error(model: Path, data: bytes) -> None:
    (model / "saved_model.pb").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        unsafe_uses(model)


def test_all_meta_graphs_and_functions_count(model: Path) -> None:
    def change(saved: Any) -> None:
        saved.meta_graphs.add().graph_def.node.add(name="a", op="WholeFileReaderV2")
        unused = saved.meta_graphs[0].graph_def.library.function.add()
        unused.signature.name = "unused"
        unused.node_def.add(name="b", op="WriteFile")

    assert found(hostile_models.edit(model, change)) == ["WholeFileReaderV2", "WriteFile"]


def test_a_function_with_the_name_of_an_operator_does_not_hide_it(model: Path) -> None:
    def change(graph: Any) -> None:
        graph.graph_def.library.function.add().signature.name = "ReadFile"
        graph.graph_def.node.add(name="a", op="ReadFile")

    assert edit(model, change) == ["ReadFile"]


def test_a_call_by_the_functions_name_is_no_unknown_operator(model: Path) -> None:
    def change(graph: Any) -> None:
        graph.graph_def.library.function.add().signature.name = "__my_function"
        graph.graph_def.node.add(name="a", op="__my_function")
        graph.graph_def.node.add(name="b", op="__not_a_function")

    assert edit(model, change) == ["__not_a_function"]


# The saver

def signature(graph: Any) -> Any:
    return graph.signature_def["serving_default"]


def test_a_signature_that_saves_is_found(model: Path) -> None:
    """A client could choose where the variables are written: the path is an input of the signature."""

    def change(graph: Any) -> None:
        signature(graph).inputs["path"].name = graph.saver_def.filename_tensor_name
        signature(graph).outputs["saved"].name = graph.saver_def.save_tensor_name

    assert edit(model, change) == ["MergeV2Checkpoints", "RestoreV2", "SaveV2"]


def test_a_signature_that_restores_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        signature(graph).inputs["path"].name = graph.saver_def.filename_tensor_name
        signature(graph).outputs["restored"].name = graph.saver_def.restore_op_name

    assert edit(model, change) == ["RestoreV2"]


def test_an_initializer_that_saves_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        main_op = graph.collection_def["saved_model_main_op"].node_list.value[0]
        node(graph, main_op).input.append("^" + graph.saver_def.save_tensor_name.split(":")[0])

    assert edit(model, change) == ["MergeV2Checkpoints", "SaveV2"]


def test_a_restore_that_saves_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        node(graph, graph.saver_def.restore_op_name).input.append("^" + graph.saver_def.save_tensor_name.split(":")[0])

    assert edit(model, change) == ["MergeV2Checkpoints", "SaveV2"]


def test_an_object_of_the_model_that_saves_is_found(model: Path) -> None:
    """tf.saved_model.load calls functions of the object graph, with captured tensors as arguments."""

    def change(graph: Any) -> None:
        graph.object_graph_def.concrete_functions[function(graph, "traced_save").signature.name].SetInParent()

    assert edit(model, change) == ["MergeV2Checkpoints", "SaveV2"]


def test_a_function_that_may_be_swapped_for_another_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        function(graph, "traced_save").attr["api_implements"].s = b"x"

    assert edit(model, change) == ["MergeV2Checkpoints", "SaveV2"]


def test_a_restore_of_another_checkpoint_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        restore = function(graph, "traced_restore")
        constant(restore.node_def, "other", "/etc/other")
        next(node for node in restore.node_def if node.op == "RestoreV2").input[0] = "other:output:0"

    assert edit(model, change) == ["RestoreV2"]


def test_a_second_call_of_the_restore_with_another_path_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        constant(graph.graph_def.node, "other", "/etc/other")
        restore = node(graph, graph.saver_def.restore_op_name)
        copy = graph.graph_def.node.add()
        copy.CopyFrom(restore)
        copy.name, copy.input[0] = "second", "other"
        restore.input.append("^second")

    assert edit(model, change) == ["RestoreV2"]


# Assets

READERS = ["InitializeTableFromTextFileV2", "ReadFile"]


def both_assets(graph: Any) -> list[str]:
    return [file.tensor_info.name for file in graph.asset_file_def]


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../../secret", "", "a\0b"])
def test_an_asset_outside_of_the_folder_is_found(model: Path, name: str) -> None:
    def change(graph: Any) -> None:
        graph.asset_file_def[0].filename = name

    (use,) = unsafe_uses(hostile_models.edit(model, lambda saved: change(saved.meta_graphs[0])))
    assert use.why == "is an asset outside of the model's folder"
    assert "\0" not in str(use)


def test_a_client_that_may_feed_the_path_of_an_asset_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        for number, name in enumerate(both_assets(graph)):
            signature(graph).inputs[f"path{number}"].name = name

    assert edit(model, change) == READERS


def test_a_client_that_may_feed_what_was_read_from_the_path_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        signature(graph).inputs["path"].name = "ReadVariableOp:0"

    assert edit(model, change) == ["ReadFile"]


def test_another_value_for_the_variable_of_a_path_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        constant(graph.graph_def.node, "evil", "/etc/passwd")
        node(graph, "Variable_1/Assign").input[1] = "evil"

    assert len(edit(model, change)) == 1


def test_a_second_write_under_the_shared_name_of_a_variable_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        constant(graph.graph_def.node, "evil", "/etc/passwd")
        handle = graph.graph_def.node.add()
        handle.CopyFrom(node(graph, "Variable_1"))
        handle.name = "alias"
        write = graph.graph_def.node.add(name="write", op="AssignVariableOp", input=["alias", "evil"])
        write.attr["dtype"].type = 7

    assert len(edit(model, change)) == 1


def test_a_write_in_a_function_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        called = function(graph, "initializer_")
        handle = called.node_def.add()
        handle.CopyFrom(node(graph, "Variable_1"))
        handle.name = "alias"
        constant(called.node_def, "evil", "/etc/passwd")
        write = called.node_def.add(name="write", op="AssignVariableOp", input=["alias:resource:0", "evil:output:0"])
        write.attr["dtype"].type = 7

    assert len(edit(model, change)) == 1


def test_a_handle_that_goes_where_it_cannot_be_followed_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        graph.graph_def.node.add(name="escape", op="IdentityN", input=["Variable_1"])

    assert len(edit(model, change)) == 1


def test_a_write_through_an_unknown_handle_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        constant(graph.graph_def.node, "evil", "/etc/passwd")
        graph.graph_def.node.add(name="parsed", op="ParseTensor", input=["evil"])
        write = graph.graph_def.node.add(name="write", op="AssignVariableOp", input=["parsed", "evil"])
        write.attr["dtype"].type = 7

    assert edit(model, change) == READERS


def test_a_path_that_a_restore_overwrites_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        restore = node(graph, graph.saver_def.restore_op_name)
        restore.input[1] = "Variable_1"

    assert len(edit(model, change)) == 1


def test_a_function_that_is_called_with_another_path_too_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        constant(graph.graph_def.node, "evil", "/etc/passwd")
        call = next(node for node in graph.graph_def.node if "initializer" in node.attr["f"].func.name and len(node.input) == 2)
        copy = graph.graph_def.node.add()
        copy.CopyFrom(call)
        copy.name, copy.input[0] = "second", "evil"

    assert edit(model, change) == ["InitializeTableFromTextFileV2"]


def test_a_function_that_an_object_calls_with_a_constant_is_found(model: Path) -> None:
    def change(graph: Any) -> None:
        objects = graph.object_graph_def
        name = function(graph, "initializer_").signature.name
        numbers = [number for number, item in enumerate(objects.nodes) if item.WhichOneof("kind") == "constant"]
        for key, concrete in objects.concrete_functions.items():
            if len(concrete.bound_inputs) == 2 and "initializer" in key:
                concrete.bound_inputs[0] = numbers[0]
                name = key
        assert name in objects.concrete_functions

    assert edit(model, change) == ["InitializeTableFromTextFileV2"]


def test_endless_identities_and_recursive_functions_end(model: Path) -> None:
    def change(graph: Any) -> None:
        graph.graph_def.node.add(name="a", op="Identity", input=["b"])
        graph.graph_def.node.add(name="b", op="Identity", input=["a"])
        graph.graph_def.node.add(name="read", op="ReadFile", input=["a"])
        endless = graph.graph_def.library.function.add()
        endless.signature.name = "endless"
        endless.node_def.add(name="again", op="endless")

    assert edit(model, change) == ["ReadFile"]


def test_a_graph_with_too_many_kinds_of_calls_is_not_trusted(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.protocol.tensor_origins._MOST_VISITS", 20)
    assert found(model) == ["InitializeTableFromTextFileV2", "ReadFile", "RestoreV2"]


def test_damage_anywhere_ends_in_an_error_or_in_names(model: Path) -> None:
    content = (model / "saved_model.pb").read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 4))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        (model / "saved_model.pb").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            unsafe_uses(model)


# The folder

@pytest.mark.parametrize("name", ["variables/variables.index", "assets/vocab.txt", "saved_model.pb"])
def test_a_link_out_of_the_folder_is_found(model: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    (model / name).rename(target)
    (model / name).symlink_to(target)
    (use,) = unsafe_uses(model)
    assert (use.name, use.why) == (name, "is a link that leads out of the model's folder")


def test_links_within_the_folder_are_safe(model: Path) -> None:
    (model / "variables").rename(model / "data")
    (model / "variables").symlink_to("data")
    assert found(model) == []


def test_a_linked_folder_and_a_pipe_are_found(model: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (model / "assets.extra").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(model / "assets" / "pipe")
    assert found(model) == ["assets.extra", "assets/pipe"]


# Real effects

@pytest.mark.parametrize(
    ("name", "op"),
    [("reads", "ReadFile"), ("writes", "WriteFile"), ("writes_on_load", "WriteFile"), ("prints", "PrintV2")],
)
def test_effects_in_signatures_and_initializers_are_found(tmp_path: Path, name: str, op: str) -> None:
    folder = getattr(hostile_models, name)(tmp_path / "model", tmp_path / "canary")
    assert found(folder) == [op]


def test_python_functions_are_found(tmp_path: Path) -> None:
    assert found(hostile_models.calls_python(tmp_path / "model")) == ["EagerPyFunc"]


def test_effects_in_loops_branches_and_datasets_are_found(tmp_path: Path) -> None:
    def effect(x: tf.Tensor) -> tf.Tensor:
        lines = tf.data.TextLineDataset(["/etc/hostname"]).map(tf.io.read_file).reduce(0, lambda count, line: count + 1)

        def body(count: tf.Tensor) -> tuple[tf.Tensor]:
            return (tf.cond(x[0] > 0, lambda: count + tf.size(tf.io.matching_files("/etc/*")), lambda: count + 1),)

        return tf.while_loop(lambda count: count < 3, body, [lines])[0]

    names = found(hostile_models.save(tmp_path / "model", effect))
    assert names == ["MatchingFiles", "ReadFile", "TextLineDataset"]
