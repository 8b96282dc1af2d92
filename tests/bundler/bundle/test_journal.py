"""The journal: steps are taken together, undone together, or finished after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle import journal
from bundler.bundle.journal import Step, run, settle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle with an old file `b`, and new files `staging/a` and `staging/b`."""
    (tmp_path / "staging" / "old").mkdir(parents=True)
    (tmp_path / "b").write_text("old")
    for path, text in {"staging/a": "new", "staging/b": "new", "staging/old/b": "old"}.items():
        (tmp_path / path).write_text(text)
    return tmp_path


STEPS = (Step("staging/a", "deep/er/a"), Step("staging/b", "b", backup="staging/old/b"))


def content(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_all_steps_are_taken_and_the_journal_is_removed(root: Path) -> None:
    run(root, root / "staging", STEPS)
    assert content(root) == {"deep/er/a": "new", "b": "new", "staging/old/b": "old"}


def test_a_failing_step_undoes_those_before_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = journal._do

    def fail(root: Path, step: Step) -> None:
        take_step(root, step)
        if step is STEPS[1]:
            raise OSError("disk on fire")

    monkeypatch.setattr(journal, "_do", fail)
    with pytest.raises(OSError, match="disk on fire"):
        run(root, root / "staging", STEPS)
    assert content(root) == {"staging/a": "new", "b": "old"}
    assert not (root / "deep").exists(), "folders that the steps created are removed"


def test_a_crash_after_the_journal_is_finished_later(root: Path) -> None:
    journal._write(root / "staging" / "journal.json", STEPS)
    journal._do(root, STEPS[0])
    assert settle(root, root / "staging") is True
    assert content(root) == {"deep/er/a": "new", "b": "new", "staging/old/b": "old"}
    assert settle(root, root / "staging") is False, "settling twice does no harm"


def test_an_undo_that_has_started_stays_an_undo(root: Path) -> None:
    journal._write(root / "staging" / "undo.json", STEPS)
    journal._do(root, STEPS[0])
    assert settle(root, root / "staging", forward=True) is False
    assert content(root) == {"staging/a": "new", "staging/b": "new", "b": "old"}


def test_a_target_without_backup_is_not_replaced(root: Path) -> None:
    journal._do(root, Step("staging/b", "b"))
    assert content(root)["b"] == "old"
