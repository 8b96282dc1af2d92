"""Sources are checked without importing or running anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SourceError, TfbundleError
from bundler.sources.check import source_checks
from bundler.spec.bundle_spec import ModelSpec


def problems(base: Path, **fields: object) -> list[str]:
    """Return the key and the message of each check that fails."""
    found = []
    for key, check in source_checks(ModelSpec.model_validate({"name": "m", **fields}), base):
        try:
            check()
        except TfbundleError as exc:
            found.append(f"{'.'.join(key)}: {exc.what}")
    return found


def test_files_that_do_not_exist_are_named_with_their_keys(tmp_path: Path) -> None:
    assert problems(tmp_path, source="m.py:make", weights="w.pt", architecture="nets.py:Net") == [
        "source: The file m.py does not exist.",
        "architecture: The file nets.py does not exist.",
        "weights: The file w.pt does not exist.",
    ]
    assert problems(tmp_path, source="m.onnx") == ["source: The file m.onnx does not exist."]


def test_a_callable_that_the_file_does_not_define_is_found_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("raise SystemExit('run')\ndef make(): ...\nclass Net: ...\nmodel = Net()\n")
    with pytest.raises(SourceError) as caught:
        dict(source_checks(ModelSpec(name="m", source="m.py:maek"), tmp_path))["source",]()
    assert caught.value.what == "m.py has no 'maek'."
    assert caught.value.fix == "did you mean 'make'?"
    assert not any(problems(tmp_path, source=f"m.py:{name}") for name in ("make", "Net", "model", "Net.small"))


@pytest.mark.parametrize("text", ["from x import *\n", "exec('make = 1')\n", "def __getattr__(name): ...\n", "def (\n"])
def test_a_file_that_may_define_more_than_it_shows_is_not_judged(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.py").write_text(text)
    assert problems(tmp_path, source="m.py:make") == []


def test_an_unknown_source_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path, source="model.xyz") == ["source: Unknown source 'model.xyz'."]
