"""Version folders and policies, with the rules of sources/storage_path/file_system_storage_path_source.cc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.protocol.messages import serving_message
from serving.protocol.status import StatusError
from serving.server.models.sources import FileSystemSource, ServableSource, find_versions, parse_version


def source(base_path: Path | str, policy: dict[str, Any] | None = None) -> ServableSource:
    config = serving_message("FileSystemStoragePathSourceConfig")(servables=[{"servable_version_policy": policy or {}}])
    return ServableSource("m", str(base_path), config.servables[0].servable_version_policy)


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    for name in ("1", "2", "10", "-3", "abc", "1.5"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("007", 7), ("-3", -3), ("+4", 4), (" 5 ", 5), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None),
     ("-9223372036854775808", -(2**63)), ("", None), ("1.5", None), ("v1", None), ("١", None)],
)  # fmt: skip
def test_folder_name_is_a_version_if_it_is_an_int64(name: str, version: int | None) -> None:
    assert parse_version(name) == version


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ({}, {10}),
        ({"latest": {"num_versions": 2}}, {2, 10}),
        ({"latest": {"num_versions": 0}}, {10}),
        ({"all": {}}, {-3, 1, 2, 10}),
        ({"specific": {"versions": [1, 3]}}, {1}),
        ({"specific": {}}, set()),
    ],
)
def test_policy_chooses_versions(policy: dict[str, Any], versions: set[int], base_path: Path) -> None:
    chosen = find_versions(source(base_path, policy))
    assert chosen == {version: str(base_path / str(version)) for version in versions}


def test_policy_without_a_match_chooses_nothing(base_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_versions(source(base_path, {"specific": {"versions": [7]}})) == {}
    assert "No versions of servable m found under base path" in caplog.text


def test_second_folder_of_the_same_version_replaces_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("07", "7"):
        (tmp_path / name).mkdir()
    assert find_versions(source(tmp_path)) == {7: str(tmp_path / "7")}
    assert "Duplicate version directories detected. Version 7" in caplog.text


def test_missing_base_path_is_an_error_and_does_not_stop_the_scan(base_path: Path) -> None:
    with pytest.raises(StatusError, match="Could not find base path /nowhere for servable m"):
        find_versions(source("/nowhere"))
    aspired: dict[str, set[int]] = {}
    scanner = FileSystemSource(lambda name, versions: aspired.update({name: set(versions)}), -1)
    scanner.update({"missing": source("/nowhere"), "m": source(base_path)})
    scanner.poll()
    assert aspired == {"m": {10}}


def test_empty_base_path_aspires_no_version_unless_versions_are_always_present(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for always_present, aspired in ((False, [{1}, set()]), (True, [{1}])):
        (tmp_path / "1").mkdir(exist_ok=True)
        seen: list[set[int]] = []
        scanner = FileSystemSource(lambda _, versions, seen=seen: seen.append(set(versions)), -1, always_present=always_present)
        scanner.update({"m": source(tmp_path)})
        scanner.poll()
        (tmp_path / "1").rmdir()
        scanner.poll()
        assert seen == aspired
    with pytest.raises(StatusError, match=f"NOT_FOUND: Unable to find a numerical version path for servable m at: {tmp_path}"):
        scanner.update({"m": source(tmp_path)})


def test_base_path_that_is_a_file_keeps_the_versions(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_text("x")
    with pytest.raises(StatusError, match=f"FAILED_PRECONDITION: {file}; Not a directory"):
        find_versions(source(file))


def test_version_folder_may_be_a_link_out_of_the_base_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "3").symlink_to(tmp_path / "elsewhere")
    assert find_versions(source(tmp_path / "m")) == {3: str(tmp_path / "m" / "3")}


def test_removed_model_loses_its_versions_at_once(base_path: Path) -> None:
    aspired: dict[str, set[int]] = {}
    scanner = FileSystemSource(lambda name, versions: aspired.update({name: set(versions)}), -1)
    scanner.update({"m": source(base_path)})
    scanner.poll()
    scanner.update({})
    assert (aspired, scanner.names) == ({"m": set()}, set())
