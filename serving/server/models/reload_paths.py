"""Which models a client may load with HandleReloadConfigRequest.

Loading a model runs its operators, some of which read and write files, and a reload names any path. The real server loads them
all. Here, base paths must be in one of these folders, after `..` and symbolic links are resolved:

- the folder of --reload_base_path, if that flag is given; `--reload_base_path=/` allows every path;
- else, for a server that listens on this machine only, the folders beside the models that the operator serves: `models/` of a
  bundle, or the parent folder of each base path in the model config;
- else none: a server that listens beyond this machine refuses reloads.

Config files are the operator's own, so their base paths are not checked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.errors import ConfigError
from serving.protocol.status import Code, StatusError
from serving.server.config.options import ServerOptions
from serving.server.models.sources import local_folder

_FLAG = "--reload_base_path"


def check_flag(options: ServerOptions) -> None:
    """Raise if the flag names no folder.

    Raises:
        ConfigError: its value is not a folder.
    """
    if options.reload_base_path and not Path(options.reload_base_path).is_dir():
        raise ConfigError(
            f"{_FLAG}={options.reload_base_path} is not a folder.",
            fix="give a folder that contains models",
            code="TFB6007",
        )


def check_reload(config: Any, own_config: Any, options: ServerOptions) -> None:
    """Raise if a client may not load a model of a config.

    Args:
        config: the client's ModelServerConfig message; its base paths are absolute paths or URIs.
        own_config: the message that the operator started the server with, or the last content of the config file.
        options: the server's options.

    Raises:
        StatusError: PERMISSION_DENIED, with the flag and the path.
    """
    allowed = _allowed(own_config, options)
    if not allowed:
        raise StatusError(
            Code.PERMISSION_DENIED,
            f"HandleReloadConfigRequest is off, because the server listens on {options.host or 'all addresses'}. Start it with "
            f"{_FLAG}=FOLDER to let clients load the models in that folder.",
        )
    for model in config.model_config_list.config:
        folder = local_folder(model.base_path)
        if folder is not None and not _is_inside(folder, allowed):
            raise StatusError(
                Code.PERMISSION_DENIED,
                f"The base path {model.base_path} of model {model.name} is outside of {', '.join(map(str, allowed))}, where a "
                f"reload may load models from. Start the server with {_FLAG}=FOLDER to allow another folder.",
            )


def _allowed(own_config: Any, options: ServerOptions) -> list[Path]:
    if options.reload_base_path:
        return [Path(options.reload_base_path).resolve()]
    if not is_loopback(options.host):
        return []
    if options.bundle:
        models = Path(options.bundle).absolute() / "models"
        return _unique([models.resolve(), *_own_folders(own_config)])
    return _unique([*_parents(own_config), *_own_folders(own_config)])


def _own_folders(config: Any) -> Iterator[Path]:
    """Yield where the operator's base paths lead: they may be links, and a client has to be able to list them again."""
    for model in config.model_config_list.config:
        folder = local_folder(model.base_path)
        if folder is not None:
            yield folder.resolve()


def _parents(config: Any) -> Iterator[Path]:
    """Yield the parents of the operator's base paths, except for the root folder, in which everything is."""
    for model in config.model_config_list.config:
        folder = local_folder(model.base_path)
        if folder is not None and (parent := folder.parent.resolve()) != Path("/"):
            yield parent


def _unique(folders: list[Path]) -> list[Path]:
    """Return the folders without those inside another one."""
    return [
        folder for folder in dict.fromkeys(folders) if not any(other in folder.parents for other in folders)
    ]


def _is_inside(folder: Path, allowed: list[Path]) -> bool:
    try:
        real = folder.resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, or a NUL
        return False
    return any(real.is_relative_to(root) for root in allowed)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
