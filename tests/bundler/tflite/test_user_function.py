"""Functions that the user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SourceError, UsageError
from bundler.tflite import user_function


def test_function_is_found_in_a_file_relative_to_the_base(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text("def accuracy():\n    return 1\n")
    assert user_function.find("metrics.py:accuracy", tmp_path, what="evaluate")() == 1


def test_check_imports_nothing_but_reports_form_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError\n")
    user_function.check("broken.py:accuracy", tmp_path, what="evaluate")
    user_function.check("some.module:accuracy", tmp_path, what="evaluate")
    with pytest.raises(UsageError, match="does not have the form module:function"):
        user_function.check("metrics.py", tmp_path, what="evaluate")
    with pytest.raises(SourceError, match=r"The file missing\.py does not exist"):
        user_function.check("missing.py:accuracy", tmp_path, what="evaluate")
