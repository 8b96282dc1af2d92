"""`make compat` selects environments, judges results and writes the tables of docs/compatibility.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from benchmarks.compat import document, load
from benchmarks.compat.combinations import COMBINATIONS, LOADERS, Combination, chosen
from tests.zoo import table
from tests.zoo.test_zoo import COMPAT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.zoo.test_zoo" name="test_architecture[bert]"/>
<testcase classname="tests.zoo.test_zoo" name="test_architecture[scan]"><failure message="no"/></testcase>
<testcase classname="tests.bundler.export.test_packed" name="test_lstm"/>
<testcase classname="tests.bundler.export.test_packed" name="test_gpu"><skipped/></testcase>
</testsuite></testsuites>"""


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    parsed = [Requirement(line) for line in lines]
    return {requirement.name: requirement for requirement in parsed if requirement.specifier}


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_every_combination_is_within_the_declared_ranges(combination: Combination) -> None:
    declared = requirements()
    for package, release in combination.pins.items():
        if package in declared:
            assert declared[package].specifier.contains(release), f"{package} {release}"


def test_environments_are_selected_by_name_and_unknown_names_are_refused() -> None:
    assert chosen([], ["a", "b"]) == ["a", "b"]
    assert chosen(["b"], ["a", "b"]) == ["b"]
    with pytest.raises(ValueError, match=r"Unknown: c. Choose from: a, b\."):
        chosen(["c"], ["a", "b"])
    assert len({c.name for c in COMBINATIONS}) == len(COMBINATIONS) == 4
    assert [loader.name for loader in LOADERS] == ["2.12", "2.15", "2.18", "2.21"]


def test_the_marked_models_exist() -> None:
    assert len(COMPAT) >= 10
    assert set(COMPAT) <= set(table.ENTRIES)


def test_the_marked_files_are_found() -> None:
    files = document.marked_files()
    assert {"tests/zoo/test_zoo.py", "tests/bundler/tflite/test_build.py"} <= set(files)
    assert all((ROOT / file).is_file() for file in files)


def test_a_row_tells_models_from_other_tests(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT)
    row = document.environment_row(report, COMBINATIONS[0], 8_500_000_000, 1.04, 2.0)
    assert (row["passed"], row["failed"], row["skipped"], row["models"]) == (2, ["scan"], ["test_gpu"], ["bert"])
    assert (row["gigabytes"], row["install_minutes"]) == (8.5, 1.0)


def test_a_model_that_answers_differently_or_does_not_load_fails() -> None:
    models = {"a": 1e-7, "b": 1e-3, "c": "OpError: no op", "d": 3e-6}
    results = {"tensorflow": "2.12.1", "seconds": 3.0, "models": models}
    row = document.loader_row(results, LOADERS[0], 10**9, 1.0)
    assert row["failed"] == {"b": 1e-3, "c": "OpError: no op"}
    assert row["apart"] == {"d": 3e-6}
    assert row["largest_error"] == 1e-3


def test_the_document_holds_the_recorded_results() -> None:
    text = document.DOCUMENT.read_text("utf-8")
    assert document.updated(text, json.loads(document.RESULTS.read_text("utf-8"))) == text


@pytest.mark.parametrize(
    ("want", "got", "error"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), 0.0),
        (np.float32([0, 2]), np.float32([0, 2.2]), 0.1),
        (np.float32([1, np.inf]), np.float32([1, 5]), np.inf),
        (np.int64([1]), np.int64([2]), np.inf),
        (np.float32([1]), np.float64([1]), np.inf),
        (np.float32([]), np.float32([]), 0.0),
    ],
)
def test_errors_are_relative_and_incomparable_tensors_are_infinitely_far(
    want: np.ndarray, got: np.ndarray, error: float
) -> None:
    assert load.relative_error(want, got) == pytest.approx(error)
