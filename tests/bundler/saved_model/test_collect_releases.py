"""Writing the list of releases from TensorFlow's libraries."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from bundler.saved_model import collect_releases
from bundler.saved_model.releases import DATA, read_release


def test_the_committed_file_is_as_the_script_writes_it() -> None:
    text = DATA.read_text("utf-8")
    assert collect_releases.to_text(json.loads(text)) == text


def test_a_later_release_has_only_what_changed() -> None:
    found = [
        ("2.10", {"min_producer": 0}, {"ops": {"A": {}, "C": {"T": ["type"]}}}),
        ("2.9", {"min_producer": 0}, {"ops": {"A": {}, "B": {}, "C": {}}}),
    ]
    assert collect_releases.compact(found) == {
        "2.9": {"min_producer": 0, "ops": {"A": {}, "B": {}, "C": {}}},
        "2.10": {"min_producer": 0, "ops": {"B": None, "C": {"T": ["type"]}}},
    }


def test_a_file_that_is_not_a_wheel_of_tensorflow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"other-1\.0\.whl is not a wheel of tensorflow-cpu"):
        collect_releases.main([str(tmp_path / "other-1.0.whl")])


@pytest.mark.slow
def test_the_installed_tensorflow_registers_what_is_recorded_for_its_release(tmp_path: Path) -> None:
    """Packages of one release for other machines have the same operators, but may differ in kernels."""
    import tensorflow as tf

    tables = collect_releases.registered(Path(str(tf.__file__)).parent, tmp_path)
    recorded = read_release(".".join(version("tensorflow").split(".")[:2]))
    assert tables["ops"] == recorded._ops
    assert tables["kernels"]["Range"] == recorded._kernels["Range"]
