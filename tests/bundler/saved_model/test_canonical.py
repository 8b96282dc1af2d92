"""A SavedModel has the same bytes whatever its process has traced before, and the same answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from bundler.saved_model.canonical import _new_names, make_canonical
from tests.bundler.many.test_build import contents


class Model(tf.Module):  # type: ignore[misc]
    """Has a variable, nested functions, a gradient, a loop and a table."""

    def __init__(self, words: Path) -> None:
        super().__init__()
        self.weight = tf.Variable([[1.0], [2.0]])
        initializer = tf.lookup.TextFileInitializer(
            str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def inner(self, x: Any) -> Any:
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + x @ self.weight), [0, x @ self.weight])[1]

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def predict(self, x: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.inner(x)
        return {"y": y, "gradient": tape.gradient(y, x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def look_up(self, word: Any) -> dict[str, Any]:
        return {"id": self.table.lookup(word)}


def save(folder: Path, words: str = "cat\ndog\n") -> Path:
    file = folder / "words.txt"
    folder.mkdir()
    file.write_text(words)
    model = Model(file)
    tf.saved_model.save(model, str(folder / "1"), signatures={"serving_default": model.predict, "look_up": model.look_up})
    return folder / "1"


def trace_much() -> None:
    for number in range(60):
        tf.function(lambda x, number=number: x + number).get_concrete_function(tf.TensorSpec([], tf.float32))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two SavedModels of the same model, written after different work, made canonical."""
    folder = tmp_path_factory.mktemp("canonical")
    first = save(folder / "first")
    trace_much()
    second = save(folder / "second")
    assert (first / "saved_model.pb").read_bytes() != (second / "saved_model.pb").read_bytes()
    for path in (first, second):
        make_canonical(path)
    return first, second


def test_two_canonical_models_have_the_same_bytes(pair: tuple[Path, Path]) -> None:
    assert contents(pair[0]) == contents(pair[1])


def test_answers_gradients_and_tables_stay(pair: tuple[Path, Path]) -> None:
    loaded = [tf.saved_model.load(str(path)) for path in pair]  # two at once: they share the table of the same words
    for model in loaded:
        answer = model.signatures["serving_default"](x=tf.constant([[1.0, 1.0]]))
        assert answer["y"].numpy().tolist() == [[12.0]] and answer["gradient"].numpy().tolist() == [[4.0, 8.0]]
        assert model.signatures["look_up"](word=tf.constant(["dog", "cow"]))["id"].numpy().tolist() == [1, -1]


def test_functions_are_numbered_from_zero_and_sorted(pair: tuple[Path, Path]) -> None:
    (graph,) = saved_model_pb2.SavedModel.FromString((pair[0] / "saved_model.pb").read_bytes()).meta_graphs
    names = [function.signature.name for function in graph.graph_def.library.function]
    assert "__inference_predict_0" in names and not any(name.endswith(("_50", "_100")) for name in names)
    text = str(graph)
    assert str(pair[0].parent) not in text


def test_models_with_other_words_have_other_tables(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = save(tmp_path / "other", words="dog\ncow\n")
    make_canonical(other)
    both = [tf.saved_model.load(str(path)) for path in (pair[0], other)]
    assert [int(model.signatures["look_up"](word=tf.constant(["dog"]))["id"][0]) for model in both] == [1, 0]


def test_the_fingerprint_belongs_to_the_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(pair[0], tmp_path / "copy")
    before = (copy / "fingerprint.pb").read_bytes()
    make_canonical(copy)
    assert (copy / "fingerprint.pb").read_bytes() == before
    made = fingerprint_pb2.FingerprintDef.FromString(before)
    assert made.saved_model_checksum and made.uuid.isdecimal()
    assert tf.saved_model.experimental.read_fingerprint(str(copy)).saved_model_checksum == made.saved_model_checksum


def test_numbers_anywhere_in_a_name_are_replaced_in_the_order_of_tracing() -> None:
    assert _new_names(["f_30", "f_7", "g"]) == {"f_7": "f_0", "f_30": "f_1", "g": "g_0"}
    assert _new_names(["back_f_100_7", "back_f_9_8"]) == {"back_f_9_8": "back_f_0", "back_f_100_7": "back_f_1"}
    assert len(set(_new_names(["a1b", "ab1", "ab", "a_1b"]).values())) == 4
