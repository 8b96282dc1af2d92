"""`make dist`: two builds of the wheel and the sdist are the same, and a difference or a wrong file is an error."""

from __future__ import annotations

import email
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from docs import dist
from tests.requirements import require_package

INSTALL = "pip install 'tfbundle[dev]'"


def test_time_in_the_archives_is_that_of_the_last_commit_or_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "123")
    assert dist.source_date() == "123"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    (tmp_path / "CHANGELOG.md").write_text("")
    os.utime(tmp_path / "CHANGELOG.md", (1000, 1000))
    assert dist.source_date(tmp_path) == "1000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("build", "hatchling", "hatch_fancy_pypi_readme", "twine", "check_wheel_contents"):
        require_package(module, INSTALL)
    out = tmp_path_factory.mktemp("dist")
    dist.main(out=out)
    return out


@pytest.mark.slow
def test_wheel_has_two_packages_and_the_tree_as_data(made: Path) -> None:
    (path,) = made.glob("*.whl")
    names = zipfile.ZipFile(path).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"bundler", "serving"}
    shipped = {name.partition("/shipped/")[2] for name in names if "/shipped/" in name}
    assert shipped == {p.relative_to(dist.ROOT / "k8s").as_posix() for p in (dist.ROOT / "k8s").rglob("*") if p.is_file()}
    metadata = email.message_from_bytes(zipfile.ZipFile(path).read(next(n for n in names if n.endswith("METADATA"))))
    assert metadata["Maintainer"] == "the tfbundle contributors"
    assert re.findall(r"\]\((?!https?:)[^)]*\)", metadata.get_payload()) == []  # every link of the README is absolute


@pytest.mark.slow
def test_sdist_has_what_its_tests_need(made: Path) -> None:
    (path,) = made.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "Makefile", "Dockerfile", "README.md", "LICENSE", "tests/conftest.py", "k8s/README.md"}
    assert wanted | {"benchmarks/__main__.py", "examples", "docs/dist.py"} <= names | {"examples"}
    assert not {name for name in names if "__pycache__" in name or name.startswith((".venv", "dist/"))}


@pytest.mark.slow
def test_builds_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("build", "hatchling", "hatch_fancy_pypi_readme"):
        require_package(module, INSTALL)
    copy = dist.copy

    def changed(root: Path, target: Path) -> Path:
        tree = copy(root, target)
        (tree / "serving" / "path.py").write_text(f"PATH = {str(target)!r}\n")
        return tree

    monkeypatch.setattr(dist, "copy", changed)
    with pytest.raises(SystemExit, match="The two builds differ"):
        dist.main(out=tmp_path)
    assert list(tmp_path.iterdir()) == []
