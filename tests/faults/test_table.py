"""Attacks stay within their limits, and the table tells when one does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.attacks.attack import Attack
from tests.faults.attacks.over_grpc import DAY_BYTES_PER_SECOND
from tests.faults.table import ATTACKS, Row, Runner
from tests.faults.victim import Victim, save_model

HARMLESS = Attack("a | b", lambda _: "400", "--flag")
OK = {"memory_mb": 10.0, "losses": 0, "p99": 0.1, "log_bytes": 100, "seconds": 5.0}
FAILING = {
    "losses": (1, "1 requests of the light client are lost"),
    "p99": (1.0, "p99 of the light client is 1.00 s"),
    "memory_mb": (1e6, "memory rises by 1000000 MB"),
    "log_bytes": (5000, "5000 bytes are logged in 5 s"),
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "m" / "1")
    made = Runner(folder)
    yield made
    made.close()


def row_of(attack: Attack = HARMLESS, **figures: float) -> Row:
    row = Row(attack, "400", **{**OK, **figures})  # type: ignore[arg-type]
    row.judge()
    return row


def test_figures_within_the_limits_pass() -> None:
    assert not row_of().failures


@pytest.mark.parametrize("figure", FAILING)
def test_each_limit_is_judged(figure: str) -> None:
    value, failure = FAILING[figure]
    assert row_of(**{figure: value}).failures == [failure]


def test_log_of_an_endless_attack_is_judged_by_the_day() -> None:
    attack = Attack("flood", lambda _: "", "", log_bytes_per_second=DAY_BYTES_PER_SECOND)
    assert not row_of(attack, log_bytes=500).failures
    assert row_of(attack, log_bytes=600).failures == ["600 bytes are logged in 5 s"]


def test_table_replaces_what_is_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "security.md"
    file.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    monkeypatch.setattr(table, "FILE", file)
    table.write(table.table([row_of()]))
    text = file.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| a \\| b | --flag | 400 | 10 | 0 | 100 | 100 |" in text


def test_document_has_the_markers() -> None:
    text = table.FILE.read_text("utf-8")
    assert text.index(table.BEGIN) < text.index(table.END)


@pytest.mark.slow
def test_server_that_an_attack_ends_is_a_failure(runner: Runner) -> None:
    def kill(victim: Victim) -> str:
        victim.server.process.kill()
        return "killed"

    row = runner.run(Attack("kill -9", kill, ""))
    assert "killed; the server ended with -9" in row.answer
    assert any("requests of the light client are lost" in failure for failure in row.failures)


@pytest.mark.slow
def test_answer_that_does_harm_is_a_failure(runner: Runner) -> None:
    def harm(_: Victim) -> str:
        raise AssertionError("the model is loaded")

    assert runner.run(Attack("harm", harm, "")).failures[0] == "the model is loaded"


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_stays_within_its_limits(runner: Runner, attack: Attack) -> None:
    row = runner.run(attack)
    print(*row.cells(), sep=" | ")
    assert not row.failures
