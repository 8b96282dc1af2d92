"""Every command and option that a message suggests exists and can be pasted into a shell."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import bundler
import serving
from bundler.cli.app import app
from bundler.cli.output import say_next
from serving.server import parse_flags
from serving.server.config.flags import FLAGS, OWN
from tests.bundler.cli.commands import run

ROOT = get_command(app)
_COMMAND = re.compile(r"`(tfbundle [^`]+)`|(?:e\.g\.|or|run|with|, then run) (tfbundle [a-z][^`,;\"]*)")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z_-]+)")
OTHERS = {
    "--reflink", "--no-deps", "--force-reinstall", "--pids-limit", "--address", "--head", "--block", "--format",
    *(f"--{name}" for name in (*FLAGS, *OWN)),
}  # fmt: skip
"""Options of other programs that messages name (cp, pip, docker, ray, git), and flags of the server."""
PLACEHOLDER = "X"


def texts() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each advice in the sources of the two packages; values in it become `X`."""
    for package in (bundler, serving):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "fix":
                    yield from ((f"{file.name}:{node.value.lineno}", text) for text in strings(node.value))
                elif isinstance(node, ast.Assign) and {getattr(t, "id", "").lower() for t in node.targets} & {"fix", "advice"}:
                    yield from ((f"{file.name}:{node.lineno}", text) for text in strings(node.value))


def strings(node: ast.expr) -> Iterator[str]:
    """Yield the strings of an expression, each f-string as a whole."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(map(part_text, node.values))
    elif isinstance(node, ast.Constant):
        yield str(node.value)
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from strings(child)


def part_text(part: ast.expr) -> str:
    """Return a part of an f-string; what `shell_command` writes is read from its arguments."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    call = getattr(part, "value", None)
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "shell_command":
        words = [argument.value if isinstance(argument, ast.Constant) else PLACEHOLDER for argument in call.args]
        return " ".join(map(str, words))
    return PLACEHOLDER


def suggested(text: str) -> list[str]:
    return [match[1] or match[2].rstrip(" .") for match in _COMMAND.finditer(text)]


def assert_can_be_run(command: str) -> None:
    """Parse a command as the shell and tfbundle do, without running it."""
    program, name, *words = shlex.split(command.replace("…", PLACEHOLDER))
    assert program == "tfbundle"
    context = ROOT.make_context("tfbundle", [name, *words], resilient_parsing=True)
    sub = ROOT.get_command(context, name)  # type: ignore[attr-defined]
    assert sub is not None, f"there is no command {name!r}"
    if "--help" in words:
        return
    if name == "serve":
        parse_flags([word for word in words if word.startswith("--")])
        return
    sub.make_context(name, [word.replace("N", "1") if word.startswith("--version=") else word for word in words])


def test_every_command_in_a_message_can_be_parsed() -> None:
    found = [(place, command) for place, text in texts() for command in suggested(text)]
    assert len(found) >= 8
    for place, command in found:
        try:
            assert_can_be_run(command)
        except BaseException as exc:
            raise AssertionError(f"{place}: {command!r}: {exc!r}") from exc


def known_options() -> set[str]:
    context = ROOT.make_context("tfbundle", [], resilient_parsing=True)
    commands = [ROOT, *(ROOT.get_command(context, name) for name in ROOT.list_commands(context))]  # type: ignore[attr-defined]
    return {word for command in commands for p in command.params for word in (*p.opts, *p.secondary_opts)} | {"--help"}


def test_every_option_in_a_to_do_exists() -> None:
    known = known_options() | OTHERS
    found = [(place, option) for place, text in texts() for option in _OPTION.findall(text)]
    assert len(found) > 40
    assert [(place, option) for place, option in found if option not in known] == []


@pytest.mark.parametrize("folder", ["plain", "my models", "it's $HOME"])
def test_next_lines_quote_paths(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_next(("tfbundle", "serve", folder), ("tfbundle", "verify", folder), column=7)
    line = capsys.readouterr().out.removeprefix("Next:").strip()
    commands = line.split("   |   ")
    assert [shlex.split(command) for command in commands] == [["tfbundle", "serve", folder], ["tfbundle", "verify", folder]]
    for command in commands:
        assert_can_be_run(command)


def test_suggestions_of_real_error_paths_can_be_pasted_with_a_space_in_the_path(
    mlp_onnx: Path, small_bundle: Path, tmp_path: Path
) -> None:
    """The text of each message is read as a user reads it: commands in backticks, and options in `to do:` lines."""
    folder = tmp_path / "my folder"
    folder.mkdir()
    (folder / "notes.txt").touch()
    (folder / "bad.yaml").write_text("models: [{name: a, source: a.onnx, tolerance: x}]\n")
    bundle = str(small_bundle)
    failing: list[tuple[object, ...]] = [
        ("build", mlp_onnx, "-o", folder),
        ("build", mlp_onnx, "-o", folder, "--adopt"),
        ("build", folder / "bad.yaml"),
        ("build", folder / "none.yaml"),
        ("build", "model.py"),
        ("build", "x.unknown"),
        ("build", mlp_onnx, "--tflite", "int8"),
        ("build", mlp_onnx, "--tflite", "int8", "--calibration", "random"),
        ("build", mlp_onnx, "--version", "1", "-o", bundle),
        ("build", "weights.pt", "--name", "a b"),
        ("inspect", folder),
        ("verify", folder),
        ("promote", bundle, "--rollback"),
        ("promote", bundle, "--label", "stable"),
        ("promote", bundle, "--label", "stable", "--rollback"),
        ("bench",),
        ("bench", "localhost:1"),
        ("smoke", "localhost:1"),
        ("serve", bundle, "second"),
        ("render", bundle, "nothing"),
        ("export-mobile", bundle, "-o", folder),
        ("ops", "--json", "--markdown"),
    ]
    known = known_options() | OTHERS
    for arguments in failing:
        result = run(*arguments, code=None)
        assert result.exit_code in (1, 2), (arguments, result.output)
        for command in suggested(result.output):
            assert_can_be_run(command)
        for line in result.output.splitlines():
            if line.strip().startswith("to do: "):
                assert set(_OPTION.findall(line)) <= known, line
