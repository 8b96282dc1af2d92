"""`file.py:callable` sources: what a callable may return, and the message for every mistake."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from bundler.errors import SourceError, UsageError
from bundler.values.signature import TensorSpec
from tests.bundler.sources.conftest import Load

X = "x=float32[batch,3]"


def test_module_with_given_inputs(load_source: Load, folder: Path) -> None:
    loaded = load_source("model.py:net", inputs=(X,))
    assert loaded.input_specs == (TensorSpec.parse(X),)
    assert loaded.example_inputs["x"].shape == (2, 3)
    assert isinstance(loaded.module, torch.nn.Module) and not loaded.module.training
    facts = loaded.provenance
    assert facts["class"] == "Net" and facts["parameters"] == 4 * 3 + 4 + 8 + 4 * 2 + 2
    assert facts["sha256"] == hashlib.sha256((folder / "model.py").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["with_example", "with_dict"])
def test_module_with_its_own_example(load_source: Load, name: str) -> None:
    loaded = load_source(f"model.py:{name}")
    assert loaded.input_specs == (TensorSpec.parse(X),)
    np.testing.assert_array_equal(loaded.example_inputs["x"], np.zeros_like(loaded.example_inputs["x"]))


@pytest.mark.parametrize("name", ["Net", "Models.small", "INSTANCE"])
def test_classes_dotted_names_and_instances(load_source: Load, name: str) -> None:
    assert load_source(f"model.py:{name}", inputs=(X,)).provenance["class"] == "Net"


def test_weights_are_loaded_into_the_module(load_source: Load, folder: Path) -> None:
    loaded = load_source("model.py:net", inputs=(X,))
    assert isinstance(loaded.module, torch.nn.Module)
    torch.save(loaded.module.state_dict(), folder / "w.pt")
    again = load_source("model.py:net", inputs=(X,), weights="w.pt")
    assert isinstance(again.module, torch.nn.Module)
    for key, value in loaded.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[key], value)
    assert again.provenance["weights"]["file"] == "w.pt"


def test_files_import_their_neighbours(load_source: Load, folder: Path) -> None:
    (folder / "helper_of_the_model.py").write_text("WIDTH = 6\n")
    text = "from helper_of_the_model import WIDTH\nfrom model import Net\n\ndef make():\n    return Net(WIDTH)\n"
    (folder / "other.py").write_text(text)
    assert load_source("other.py:make", inputs=(X,)).provenance["class"] == "Net"


@pytest.mark.parametrize(
    ("source", "what", "where", "fix"),
    [
        ("nofile.py:net", "The file nofile.py does not exist", "nofile.py", "path"),
        ("modle.py:net", "The file modle.py does not exist", "modle.py", "did you mean model.py"),
        ("model.py:nett", "has no 'nett'", "model.py", "net, big"),
        ("model.py:raises", "KeyError: 'nope'", 'return values["nope"]', "without arguments"),
        ("model.py:leaves", "SystemExit: bye", 'raise SystemExit("bye")', "without arguments"),
        ("model.py:needs_argument", "missing 1 required positional argument: 'size'", None, "without arguments"),
        ("model.py:number", "returned int", None, "torch.nn.Module"),
        ("model.py:bad_example", "have the type int", None, "tensor"),
        ("model.py:NUMBER", "type int, which cannot be called", None, "torch.nn.Module"),
        ("model.py:net", "Net has no example inputs", None, "--input 'x=float32[batch,3]'"),
        (".:net", "Unknown source '.:net'.", None, "file.py:callable"),
    ],
)
def test_message_says_what_is_wrong_where_and_what_to_do(
    load_source: Load, source: str, what: str, where: str | None, fix: str
) -> None:
    with pytest.raises((SourceError, UsageError)) as caught:
        load_source(source)
    assert what in caught.value.what
    assert caught.value.fix is not None and fix in caught.value.fix
    if where is not None:
        assert caught.value.where is not None and where in caught.value.where
    assert "Traceback" not in str(caught.value)


def test_message_names_the_line_of_the_user(load_source: Load, folder: Path) -> None:
    lines = (folder / "model.py").read_text().splitlines()
    number = lines.index('    return values["nope"]') + 1
    with pytest.raises(SourceError) as caught:
        load_source("model.py:raises")
    assert caught.value.where == f"{folder / 'model.py'}:{number}: return values[\"nope\"]"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import no_such_package_at_all\n", "No module named 'no_such_package_at_all'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_file_that_cannot_be_imported_is_an_error(load_source: Load, folder: Path, text: str, what: str) -> None:
    (folder / "broken.py").write_text(text)
    with pytest.raises(SourceError, match="cannot be imported") as caught:
        load_source("broken.py:f")
    assert what in caught.value.what
    assert caught.value.where is not None and caught.value.where.startswith(f"{folder / 'broken.py'}:1: ")


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("x=float32[batch,4]", "mat1 and mat2 shapes cannot be multiplied"),
        ("x=int64[batch,3]", "must have the same dtype"),
    ],
)
def test_inputs_that_the_model_does_not_accept_are_an_error(load_source: Load, folder: Path, option: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_source("model.py:net", inputs=(option,))
    assert option in caught.value.what and what in caught.value.what
    assert caught.value.where is not None and caught.value.where.startswith(str(folder / "model.py"))
    assert "self.first(x)" in caught.value.where


@pytest.mark.parametrize("option", ["x=float32[batch,4]", "x=float64[batch,3]", "x=float32[batch]", "x=float32[5,3]"])
def test_inputs_that_contradict_the_example_are_an_error(load_source: Load, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_source("model.py:with_example", inputs=(option,))
    assert option in caught.value.what and "x=float32[1,3]" in caught.value.what


def test_inputs_with_another_name_are_an_error(load_source: Load) -> None:
    with pytest.raises(UsageError, match="the model's inputs are x"):
        load_source("model.py:with_example", inputs=("image=float32[batch,3]",))
    with pytest.raises(SourceError, match="missing a required argument: 'x'"):
        load_source("model.py:net", inputs=("image=float32[batch,3]",))
