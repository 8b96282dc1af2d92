"""A bundle from a stranger: a journal that would rename files outside the bundle is refused, and nothing is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bundler.bundle.journal import JournalError, Step, run, settle
from bundler.bundle.staging import PREFIX, Staging
from bundler.errors import PublishError
from bundler.validation.bundle import Bundle
from tests.bundler.cli.commands import run as tfbundle


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "bundle"
    shutil.copytree(small_bundle, copy)
    (tmp_path / "profile").write_text("the user's own")
    return copy


def plant(bundle: Path, journal: str, name: str = "journal.json") -> Path:
    staging = bundle / f"{PREFIX}planted"
    staging.mkdir()
    (staging / "payload").write_text("the stranger's")
    (staging / name).write_text(journal)
    return staging


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


PAYLOAD = f"{PREFIX}planted/payload"
STEPS = {
    "absolute target": (PAYLOAD, "/{outside}/profile", PAYLOAD),
    "target above the bundle": (PAYLOAD, "../profile", PAYLOAD),
    "source above the bundle": ("../profile", "serving/profile", None),
    "backup above the bundle": (PAYLOAD, "serving/x", "../profile"),
    "target through a link": (PAYLOAD, "link/profile", PAYLOAD),
    "source through a link": ("link/profile", "serving/profile", None),
    "empty path": ("", "serving/x", None),
}


@pytest.mark.parametrize("name", ["journal.json", "undo.json"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_steps_that_lead_out_of_the_bundle_are_refused(
    bundle: Path, tmp_path: Path, step: tuple[str, str, str | None], name: str
) -> None:
    (bundle / "link").symlink_to(tmp_path)
    plant(bundle, json.dumps([[text and text.format(outside=tmp_path) for text in step]]), name)
    before = tree(tmp_path)
    with pytest.raises(PublishError, match="holds a journal that no build of this bundle wrote") as caught, Staging(bundle):
        pass
    assert "delete that folder" in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[["a"]]', '[["a", 1, null]]', '[["a", "b", 1]]', "\x00"])
def test_a_damaged_journal_is_reported_and_can_be_repaired(bundle: Path, text: str) -> None:
    staging = plant(bundle, text)
    done = tfbundle("render", bundle, "docker", code=1)
    assert "holds a journal that no build of this bundle wrote" in done.stderr and "Unexpected" not in done.stderr
    shutil.rmtree(staging)
    tfbundle("render", bundle, "docker")


def test_good_steps_before_a_hostile_one_are_not_taken(bundle: Path, tmp_path: Path) -> None:
    plant(bundle, json.dumps([[PAYLOAD, "serving/x", None], [PAYLOAD, "../profile", PAYLOAD]]))
    before = tree(tmp_path)
    with pytest.raises(PublishError), Staging(bundle):
        pass
    assert tree(tmp_path) == before


def test_verify_names_a_staging_folder(bundle: Path) -> None:
    staging = plant(bundle, "[]")
    (problem,) = Bundle.open(bundle).verify(parity=False)
    assert (problem.path, problem.serious) == (staging.name, False)
    assert "interrupted" in problem.message


def test_a_link_in_place_of_a_staging_folder_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    (bundle / f"{PREFIX}link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "journal.json").write_text(json.dumps([["bundle.json", "gone.json", None]]))
    before = tree(tmp_path)
    with Staging(bundle):
        pass
    assert tree(tmp_path) == before
    assert [problem.path for problem in Bundle.open(bundle).verify(parity=False)] == [f"{PREFIX}link"]


def test_steps_through_a_link_are_not_taken(bundle: Path, tmp_path: Path) -> None:
    (bundle / "link").symlink_to(tmp_path)
    staging = plant(bundle, "[]")
    with pytest.raises(JournalError, match="leads through the symbolic link 'link'"):
        run(bundle, staging, [Step(PAYLOAD, "link/profile", PAYLOAD)])
    assert (tmp_path / "profile").read_text() == "the user's own"


@pytest.mark.parametrize(
    "step",
    [
        ["bundle.json", "serving/new", None],
        ["bundle.json", f"{PREFIX}planted/kept", None],
        [PAYLOAD, "serving/models.config", "bundle.json"],
        [PAYLOAD, "serving/models.config", ""],
        ["serving/models.config", "k8s/models.config", None],
        ["serving/models.config", "serving/other", None],
        ["serving/models.config", "\ud800", None],
    ],
    ids=[
        "bundle.json",
        "bundle.json to staging",
        "bundle.json as a backup",
        "empty backup",
        "other folder",
        "other name",
        "surrogate",
    ],
)
def test_a_rename_that_no_build_makes_is_refused(bundle: Path, step: list[str | None]) -> None:
    staging = plant(bundle, json.dumps([step]))
    before = tree(bundle)
    with pytest.raises(JournalError):
        settle(bundle, staging)
    assert tree(bundle) == before
