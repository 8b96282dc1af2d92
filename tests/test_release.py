"""`make release` and the notes that the release workflow publishes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from docs import release

ROOT = Path(__file__).parents[1]
CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

Serving:

- A flag.

## [0.2.0] - 2026-01-31

### Fixed

- A bug.

## [0.1.0] - 2025-12-01

### Added

- Everything.

[Unreleased]: https://github.com/someone/thing/compare/v0.2.0...HEAD
[0.2.0]: https://github.com/someone/thing/compare/v0.1.0...v0.2.0
[0.1.0]: https://github.com/someone/thing/releases/tag/v0.1.0
"""
PROJECT = '[project]\nname = "thing"\nversion = "0.2.0"\n\n[tool.mypy]\npython_version = "3.10"\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "CITATION.cff").write_text('title: thing\nrepository-code: "https://github.com/someone/thing"\n')
    return tmp_path


def test_cut_moves_unreleased_changes_under_the_version_and_date(tree: Path) -> None:
    release.cut(tree, "0.3.0", date(2026, 3, 1))
    text = (tree / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [0.3.0] - 2026-03-01\n\n### Added\n\nServing:\n\n- A flag.\n" in text
    assert text.endswith(
        "- Everything.\n\n"
        "[Unreleased]: https://github.com/someone/thing/compare/v0.3.0...HEAD\n"
        "[0.3.0]: https://github.com/someone/thing/compare/v0.2.0...v0.3.0\n"
        "[0.2.0]: https://github.com/someone/thing/compare/v0.1.0...v0.2.0\n"
        "[0.1.0]: https://github.com/someone/thing/releases/tag/v0.1.0\n"
    )
    assert (tree / "pyproject.toml").read_text() == PROJECT.replace("0.2.0", "0.3.0")


def test_notes_of_a_cut_release_are_its_changes(tree: Path) -> None:
    release.cut(tree, "0.3.0rc1", date(2026, 3, 1))
    assert release.notes(tree, "v0.3.0rc1") == "### Added\n\nServing:\n\n- A flag.\n"


def test_first_release_links_to_its_tag(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- Everything.\n")
    release.cut(tree, "0.1.0", date(2026, 3, 1))
    assert (tree / "CHANGELOG.md").read_text().endswith(
        "- Everything.\n\n"
        "[Unreleased]: https://github.com/someone/thing/compare/v0.1.0...HEAD\n"
        "[0.1.0]: https://github.com/someone/thing/releases/tag/v0.1.0\n"
    )


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("0.2.0", "version 0.2.0 is not newer than 0.2.0"),
        ("0.2.0rc3", "version 0.2.0rc3 is not newer than 0.2.0"),
        ("0.1.9", "version 0.1.9 is not newer than 0.2.0"),
        ("v0.3.0", "'v0.3.0' is neither X.Y.Z nor X.Y.ZrcN"),
        ("0.3", "'0.3' is neither"),
        ("0.03.0", "'0.03.0' is neither"),
        ("0.3.0\n", "is neither"),
    ],
)
def test_wrong_version_changes_no_file(tree: Path, version: str, problem: str) -> None:
    with pytest.raises(release.ReleaseError, match=problem):
        release.cut(tree, version, date(2026, 3, 1))
    assert (tree / "CHANGELOG.md").read_text() == CHANGELOG and (tree / "pyproject.toml").read_text() == PROJECT


def test_release_without_changes_is_refused(tree: Path) -> None:
    release.cut(tree, "0.3.0", date(2026, 3, 1))
    with pytest.raises(release.ReleaseError, match=r"no changes under \[Unreleased\]"):
        release.cut(tree, "0.4.0", date(2026, 3, 2))
    assert 'version = "0.3.0"' in (tree / "pyproject.toml").read_text()


def test_notes_of_another_tag_or_an_uncut_version_are_refused(tree: Path) -> None:
    with pytest.raises(release.ReleaseError, match=r"the tag is v0\.3\.0, but the version in pyproject\.toml is 0\.2\.0"):
        release.notes(tree, "v0.3.0")
    (tree / "pyproject.toml").write_text(PROJECT.replace("0.2.0", "0.3.0"))
    with pytest.raises(release.ReleaseError, match=r"no dated changes of version 0\.3\.0; run: make release VERSION=0\.3\.0"):
        release.notes(tree, "v0.3.0")


def test_command_prints_the_error_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["notes", "v999.0.0"]) == 1
    assert capsys.readouterr().err.startswith("error: the tag is v999.0.0, but the version")


def test_this_repository_can_be_released(tmp_path: Path) -> None:
    for name in ("CHANGELOG.md", "pyproject.toml", "CITATION.cff"):
        text = (ROOT / name).read_text("utf-8").replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- A line.\n", 1)
        (tmp_path / name).write_text(text, "utf-8")
    release.cut(tmp_path, "999.0.0", date(2026, 3, 1))
    assert release.notes(tmp_path, "v999.0.0").startswith("### Added\n\n- A line.\n")
