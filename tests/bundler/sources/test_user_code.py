"""Exceptions of the user's code are reported in one line, with the user's file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bundler.errors import SourceError, UsageError
from bundler.sources.user_code import first_line, import_file, is_user_file, user_code


def test_message_is_the_first_line() -> None:
    assert first_line(ValueError("\n wrong \n more")) == "ValueError: wrong"
    assert first_line(ValueError()) == "ValueError"
    scripted = "The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: shapes"
    assert first_line(RuntimeError(scripted)) == "RuntimeError: shapes"


def test_only_files_of_the_user_are_user_files() -> None:
    assert is_user_file("/home/me/model.py")
    assert not is_user_file(str(torch.__file__))
    assert not is_user_file(os.__file__)
    assert not is_user_file("<string>")


def test_own_errors_pass_unchanged() -> None:
    with pytest.raises(UsageError, match="wrong"), user_code("model.py raised"):
        raise UsageError("wrong", fix="correct it")


def test_line_of_the_user_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken_model.py"
    path.write_text("import torch\n\ntorch.zeros(2) @ torch.zeros(3)\n")
    with pytest.raises(SourceError, match=r"broken_model\.py cannot be imported: RuntimeError") as caught:
        import_file(path)
    assert caught.value.where == f"{path}:3: torch.zeros(2) @ torch.zeros(3)"
