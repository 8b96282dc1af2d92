"""docs/security.md describes every command, every attack of the tests, and the limits that the server starts with."""

from __future__ import annotations

import re

import pytest
import typer

from bundler.cli.app import app
from serving.server.config.flags import FLAGS
from serving.server.config.options import ServerOptions
from tests.faults.table import ATTACKS, BEGIN, FILE

TEXT = FILE.read_text("utf-8")
LIMIT = re.compile(r"`--(\w+)` \((\d[\d,]*)(?: (MiB|s))?\)")
UNIT = {"": 1, "MiB": 2**20, "s": 1}
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_table_says_what_each_command_executes(command: str) -> None:
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| `")]
    assert [row for row in rows if f"`{command}`" in re.split(r"(?<=`), ", row[1].strip())], "no row"
    assert all(len(row) == 7 and all(cell.strip() for cell in row[1:-1]) for row in rows if row[1].count("`") >= 2)


@pytest.mark.parametrize("limit", LIMIT.findall(TEXT), ids=" ".join)
def test_limits_are_those_that_the_server_starts_with(limit: tuple[str, str, str]) -> None:
    name, number, unit = limit
    option = FLAGS[name].option
    assert option is not None and getattr(ServerOptions(), option) == int(number.replace(",", "")) * UNIT[unit]


def test_limits_are_found() -> None:
    assert {name for name, _, _ in LIMIT.findall(TEXT)} >= {"max_request_bytes", "max_decoded_bytes", "max_concurrent_rpcs"}


def test_table_has_every_attack() -> None:
    table = TEXT[TEXT.index(BEGIN) :]
    assert not [attack.name for attack in ATTACKS if f"\n| {attack.name} |" not in table]


def test_commands_that_refuse_unsafe_models_are_named() -> None:
    """`serve` hands its flags to the server, and so has the option without declaring it."""
    refusing = {name for name, command in COMMANDS.items() if any("--allow-unsafe-ops" in each.opts for each in command.params)}
    sentence = re.search(r"((?:`[\w -]+`(?:, | and\s)?)+)\s*refuse such a model unless `--allow-unsafe-ops`", TEXT)
    assert sentence is not None and set(re.findall(r"`([\w-]+)[^`]*`", sentence[1])) == {*refusing, "serve"}
