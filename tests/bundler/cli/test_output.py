"""What the commands print, and where."""

from __future__ import annotations

import pytest

from bundler.cli.output import note, print_error, print_json, say, size, table


def test_sizes_have_readable_units() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_230_000, 5e9)] == ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 GB"]


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("[x] a result")
    print_json({"é": 1})
    note("a note")
    print_error("It failed.", where="here", fix="try again")
    out, err = capsys.readouterr()
    assert out == '[x] a result\n{\n  "é": 1\n}\n'
    assert err == "a note\nerror: It failed.\n  where: here\n  to do: try again\n"


def test_tables_align_numbers_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "size"), [("a" * 100, "1 kB"), ("b", "12 kB")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a" * 100)
    assert len({len(line) for line in lines[1:]}) == 1
