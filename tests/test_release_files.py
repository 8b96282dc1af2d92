"""What the repository shows to GitHub, PyPI and other people's tools: valid, consistent, and with no more rights than needed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from ruamel.yaml import YAML

from docs import release
from tests import requirements
from tests.test_document_references import DOCUMENTS, make_targets

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
CHANGES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
"""The kinds of changes, in the order of https://keepachangelog.com/en/1.1.0/."""
WRITES = {
    ("docs", "publish"): {"pages": "write", "id-token": "write"},
    ("release", "pypi"): {"id-token": "write"},
    ("release", "github"): {"contents": "write"},
}
"""The jobs that may do more than read the repository."""
SCHEMAS = {
    "CITATION.cff": "citation-file-format",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    **{f".github/ISSUE_TEMPLATE/{name}.yml": "github-issue-forms" for name in ("bug", "operator", "idea")},
    **{f".github/workflows/{path.name}": "github-workflows" for path in WORKFLOWS},
}


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield path.stem, name, job


def steps() -> list[dict[str, Any]]:
    return [step for _, _, job in jobs() for step in job.get("steps", [])]


def run(program: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [requirements.require_program(program, install=f"pip install {program}"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_follows_its_schema(name: str) -> None:
    jsonschema.validate(load(ROOT / name), get_builtin_schema(f"vendor.{SCHEMAS[name]}"))


def test_every_issue_form_and_workflow_is_checked() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in GITHUB.rglob("*.yml")}
    assert files == {name for name in SCHEMAS if name.startswith(".github/")}
    assert {path.stem for path in WORKFLOWS} == {"tests", "compat", "docs", "release"}


def test_actionlint_accepts_the_workflows_and_finds_a_wrong_expression(tmp_path: Path) -> None:
    done = run("actionlint", *map(str, WORKFLOWS))
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((GITHUB / "workflows" / "tests.yml").read_text("utf-8").replace("matrix.python }}", "matrix.pyton }}"))
    assert 'property "pyton" is not defined' in run("actionlint", str(wrong)).stdout


def test_zizmor_finds_no_risk_in_the_workflows_and_finds_one_in_a_worse_copy(tmp_path: Path) -> None:
    done = run("zizmor", "--offline", "--quiet", ".github")
    assert done.returncode == 0, done.stdout + done.stderr
    worse = tmp_path / "worse.yml"
    worse.write_text((GITHUB / "workflows" / "tests.yml").read_text("utf-8").replace("persist-credentials: false", "clean: true"))
    assert "artipacked" in run("zizmor", "--offline", "--quiet", str(worse)).stdout


@pytest.mark.parametrize(("workflow", "name", "job"), list(jobs()), ids=[f"{flow}-{name}" for flow, name, _ in jobs()])
def test_job_has_a_time_limit_and_only_the_rights_it_needs(workflow: str, name: str, job: dict[str, Any]) -> None:
    assert "uses" in job or 0 < job["timeout-minutes"] <= 350
    assert job["permissions"] == WRITES.get((workflow, name), {"contents": "read"})
    assert load(GITHUB / "workflows" / f"{workflow}.yml")["permissions"] == {}


def test_concurrent_runs_of_a_workflow_are_limited_and_groups_differ() -> None:
    groups = [load(path)["concurrency"]["group"] for path in WORKFLOWS]
    assert groups == [f"{path.stem}-${{{{ github.ref }}}}" for path in WORKFLOWS]


def test_actions_are_pinned_to_commits_with_their_version_beside() -> None:
    lines = [line.strip() for path in WORKFLOWS for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    pinned = re.compile(r"(?:- )?uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
    found = [pinned.fullmatch(line) for line in lines if "uses: $/" not in line]
    assert found and all(found)
    assert len({match.groups() for match in found if match}) == len({match[1] for match in found if match})


def test_workflows_call_make_targets_and_modules_that_exist() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    called = {target for command in commands for target in re.findall(r"^make ([a-z-]+)", command, re.MULTILINE)}
    assert called == {"lint", "test", "compat", "docs", "dist"} and called <= make_targets()
    modules = [name for command in commands for name in re.findall(r"python -m ([\w.]+)", command)]
    assert modules and all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in modules)


def test_the_site_is_published_from_where_it_is_built() -> None:
    uploads = [step["with"]["path"] for step in steps() if "upload-pages-artifact" in step.get("uses", "")]
    assert len(uploads) == 1 and re.search(rf"^docs:.*\b{uploads[0]}\b", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_every_supported_python_is_tested() -> None:
    tested = load(GITHUB / "workflows" / "tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert tested == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert f'requires-python = ">={tested[0]},<3.{int(tested[-1][2:]) + 1}"' in project


def test_a_release_is_uploaded_only_after_the_tests_and_without_a_token() -> None:
    job = load(GITHUB / "workflows" / "release.yml")["jobs"]["pypi"]
    assert set(job["needs"]) == {"tests", "dist"} and job["environment"]["name"] == "pypi"
    text = (GITHUB / "workflows" / "release.yml").read_text("utf-8")
    assert "secrets." not in text and "cache: pip" not in text and "password:" not in text


def test_pre_commit_reads_its_config_and_the_hooks_run_programs_of_the_environment() -> None:
    config = ROOT / ".pre-commit-config.yaml"
    done = run("pre-commit", "validate-config", str(config))
    assert done.returncode == 0, done.stdout
    entries = [hook["entry"].split() for repo in load(config)["repos"] for hook in repo["hooks"]]
    for program in {Path(entry[0]) for entry in entries}:
        assert program.parent == Path(".venv/bin")
        assert requirements.require_program(program.name, install="make venv")
    assert all((ROOT / word).exists() for entry in entries for word in entry if word.startswith("tests/"))


def test_citation_and_documents_name_one_repository() -> None:
    named = re.compile(r"https://github\.com/([\w-]+/tfbundle)\b")
    texts = [ROOT / "CITATION.cff", ROOT / "pyproject.toml", *DOCUMENTS, *GITHUB.rglob("*.yml")]
    owners = {owner for path in texts for owner in named.findall(path.read_text("utf-8"))}
    citation = load(ROOT / "CITATION.cff")
    assert {f"https://github.com/{owner}" for owner in owners} == {citation["repository-code"]}
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_changelog_keeps_the_form_of_keep_a_changelog() -> None:
    sections = release.sections((ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert sections[0][:2] == ("Unreleased", "")
    versions = [release.order(name) for name, _, _ in sections[1:]]
    days = [date.fromisoformat(day) for _, day, _ in sections[1:]]
    assert versions == sorted(versions, reverse=True) and all(newer >= older for newer, older in pairwise(days))
    for name, _, changes in sections:
        kinds = re.findall(r"^### (.*)$", changes, re.MULTILINE)
        assert kinds == [kind for kind in CHANGES if kind in kinds], name


def test_version_has_one_source() -> None:
    from importlib.metadata import version

    import bundler

    own = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert own is not None and bundler.__version__ == version("tfbundle") == own[1]
    assert "version" not in load(ROOT / "CITATION.cff")
