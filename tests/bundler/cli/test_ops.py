"""tfbundle ops: the table in each of its formats, and every wrong use."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import Result

from tests.bundler.cli.commands import run

DOCS = Path(__file__).parents[3] / "docs" / "operators.md"


def ops(*arguments: object, code: int = 0) -> Result:
    return run("ops", *arguments, code=code)


def test_the_table_lists_every_domain_with_its_count() -> None:
    lines = ops().stdout.splitlines()
    assert lines[0].split() == ["domain", "operator", "opset", "handler", "since", "layout"]
    assert not any("…" in line for line in lines), "nothing is cut"
    relu = next(line for line in lines if line.split()[1:2] == ["LeakyRelu"])
    assert relu.split() == [
        "ai.onnx", "LeakyRelu", "16", "bundler.converters.native.ops.elementwise:leaky_relu", "1", "elementwise",
    ]  # fmt: skip
    assert any(line.startswith("ai.onnx: ") and line.endswith(" converted") for line in lines)


def test_operators_can_be_selected() -> None:
    lines = ops("*Unpool").stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["MaxUnpool"]
    missing = json.loads(ops("--missing", "--json").stdout)
    assert {row["status"] for row in missing} == {"missing"}
    assert "None: all of these operators are converted." in ops("ai.onnx::LeakyRelu", "--missing").stdout


def test_json_has_the_fields_of_a_row() -> None:
    (row,) = json.loads(ops("ai.onnx::LeakyRelu", "--json").stdout)
    assert row == {
        "domain": "ai.onnx", "name": "LeakyRelu", "newest": 16, "status": "handler",
        "handler": "bundler.converters.native.ops.elementwise:leaky_relu", "since": 1, "layout": "ELEMENTWISE",
    }  # fmt: skip


def test_markdown_is_the_document() -> None:
    text = ops("--markdown").stdout
    assert text.startswith("# Operators\n")
    assert text.splitlines()[4].strip() == "tfbundle ops --markdown > docs/operators.md"
    assert "| LeakyRelu | 16 | `elementwise:leaky_relu` | 1 | elementwise |" in text


def test_handlers_of_the_user_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from bundler.ops import op\n@op('Odd', domain='mylib')\ndef odd(x): return x\n")
    lines = ops("mylib::Odd", "--ops", path).stdout.splitlines()
    assert lines[1].split() == ["mylib", "Odd", "mine.py:odd", "1", "logical"]
    ops("mylib::Odd", code=2)


def test_wrong_use_is_an_error(tmp_path: Path) -> None:
    assert "did you mean LeakyRelu" in ops("LeekyRelu", code=2).stderr
    assert "cannot be combined" in ops("--json", "--markdown", code=2).stderr
    assert "whole table" in ops("Relu", "--markdown", code=2).stderr
    assert "whole table" in ops("--missing", "--markdown", code=2).stderr
    assert "nothing.py does not exist" in ops("--ops", tmp_path / "nothing.py", code=1).stderr
    (tmp_path / "bad.py").write_text("1 / 0\n")
    assert f"{tmp_path / 'bad.py'}:1" in ops("--ops", tmp_path / "bad.py", code=1).stderr
    (tmp_path / "empty.py").write_text("")
    assert "declares no handler" in ops("--ops", tmp_path / "empty.py", code=1).stderr
