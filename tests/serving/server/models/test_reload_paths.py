"""Which models a client may load with a reload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ConfigError
from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError
from serving.server.config.options import ServerOptions
from serving.server.models.reload_paths import check_flag, check_reload, is_loopback


def config(*base_paths: object) -> Any:
    message = serving_message("ModelServerConfig")()
    for number, base_path in enumerate(base_paths):
        message.model_config_list.config.add(name=f"m{number}", base_path=str(base_path))
    return message


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the model `own`, which the operator serves, a model beside it, and links that lead out."""
    folder = tmp_path / "models"
    for name in ("own", "beside"):
        (folder / name).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    return folder


@pytest.mark.parametrize(
    "base_path",
    ["{models}/own", "{models}/own/", "{models}/beside", "{models}/new", "file://{models}/beside", "{models}/beside/../own",
     "gs://bucket/n"],
)  # fmt: skip
def test_models_beside_the_operators_own_are_allowed(base_path: str, models: Path) -> None:
    """A URI of another scheme is none of this check's: this server reads local folders only, and says so."""
    check_reload(config(base_path.format(models=models)), config(models / "own"), ServerOptions())


@pytest.mark.parametrize(
    "base_path",
    ["{models}/../outside", "file://{models}/../outside", "file://host{models}/link", "{models}/link", "{models}/link/deeper",
     "{models}-2", "/", "/etc", "//etc", "/proc/self/cwd", "{models}/a\0b", "{models}/beside/../../outside"],
)  # fmt: skip
def test_other_paths_are_refused_with_flag_and_path(base_path: str, models: Path) -> None:
    path = base_path.format(models=models)
    with pytest.raises(StatusError) as refused:
        check_reload(config(models / "own", path), config(models / "own"), ServerOptions())
    assert refused.value.code is Code.PERMISSION_DENIED
    assert path in refused.value.message and "--reload_base_path=FOLDER" in refused.value.message


def test_operators_model_behind_a_link_may_be_listed_again(models: Path, tmp_path: Path) -> None:
    check_reload(config(models / "link"), config(models / "link"), ServerOptions())
    with pytest.raises(StatusError):
        check_reload(config(tmp_path), config(models / "link"), ServerOptions())


def test_model_directly_below_the_root_folder_does_not_allow_everything() -> None:
    check_reload(config("/m"), config("/m"), ServerOptions())
    with pytest.raises(StatusError):
        check_reload(config("/etc"), config("/m"), ServerOptions())


def test_flag_replaces_the_default_and_may_be_a_link(models: Path, tmp_path: Path) -> None:
    options = ServerOptions(reload_base_path=str(models / "link"))
    check_flag(options)
    check_reload(config(tmp_path / "outside" / "m"), config(models / "own"), options)
    with pytest.raises(StatusError):
        check_reload(config(models / "own"), config(models / "own"), options)
    check_reload(config("/etc"), config(models / "own"), replace(options, reload_base_path="/"))


def test_flag_that_names_no_folder_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--reload_base_path=.*/none is not a folder"):
        check_flag(ServerOptions(reload_base_path=str(tmp_path / "none")))


def test_bundle_allows_its_models(tmp_path: Path) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    options = ServerOptions(bundle=str(tmp_path))
    check_reload(config(tmp_path / "models" / "n"), config(tmp_path / "models" / "m"), options)
    with pytest.raises(StatusError):
        check_reload(config(tmp_path / "n"), config(tmp_path / "models" / "m"), options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org"])
def test_reload_is_off_beyond_this_machine_unless_the_flag_is_given(host: str, models: Path) -> None:
    with pytest.raises(StatusError, match=r"PERMISSION_DENIED: HandleReloadConfigRequest is off.*--reload_base_path=FOLDER"):
        check_reload(config(models / "own"), config(models / "own"), ServerOptions(host=host))
    check_reload(config(models / "own"), config(models / "own"), ServerOptions(host=host, reload_base_path=str(models)))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),
     ("::", False), ("", False), ("10.0.0.1", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback_addresses_are_local(host: str, local: bool) -> None:
    assert is_loopback(host) is local
