"""The files that `python -m bundler.spec` writes are what the models say."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from bundler.spec.__main__ import FILES, main
from bundler.spec.build_options import BuildOptions
from bundler.spec.keywords_file import keywords_text
from bundler.spec.options import keywords
from bundler.spec.options_table import options_text

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", FILES)
def test_the_checked_in_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == FILES[name](), "run `python -m bundler.spec`"


def test_the_command_writes_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True)
    main(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8")
    assert capsys.readouterr().out.count("wrote ") == len(FILES)


def test_the_typed_dict_has_the_types_of_the_models() -> None:
    hints = typing.get_type_hints(BuildOptions)
    assert set(hints) == set(keywords())
    assert BuildOptions.__total__ is False
    assert typing.get_args(typing.get_args(hints["layout"])[0]) == ("keep", "nhwc")
    assert typing.get_args(hints["tolerance"]) == (float, type(None))
    assert '"""Largest relative error allowed against PyTorch. Default: by the dtype' in keywords_text()


def test_the_table_names_what_has_no_flag() -> None:
    assert "| `models.tflite.batch` | a part of --dims: batch=8 |" in options_text()
