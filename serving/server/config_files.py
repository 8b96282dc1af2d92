"""Config files that a server reads: text protos, and the models of a bundle's folder."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protocol.messages import pool, serving_message
from serving.protocol.status import Code, StatusError
from serving.server.options import ServerOptions

TENSORFLOW = "tensorflow"
"""The one model platform (model_servers/model_platform_types.h)."""

_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENODEV: Code.NOT_FOUND,
    errno.ENXIO: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENOMEM: Code.RESOURCE_EXHAUSTED,
    errno.ESTALE: Code.ABORTED,
}
"""Of what can go wrong in reading a file (TensorFlow's tsl/platform/errors.cc); anything else is UNKNOWN."""


class ConfigTextError(StatusError):
    """A config file that does not parse.

    Attributes:
        detail: line, column and what the parser expected there.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'")
        # A byte that is no UTF-8 stands in it as a surrogate, which cannot be printed.
        self.detail = detail.encode("utf-8", "backslashreplace").decode()


def read_config(path: str, name: str) -> Any:
    """Read a text proto of a message in package tensorflow.serving.

    Raises:
        StatusError: the file cannot be read, is empty or does not parse, with the codes and texts of util/proto_util.h and
            TensorFlow's posix_file_system.cc. Bytes that are no UTF-8 may stand in comments; in a string, where the real
            server lets them pass, no message in Python can hold them.
    """
    text = _read(path).decode("utf-8", "surrogateescape")
    try:
        return text_format.Parse(text, serving_message(name)(), descriptor_pool=pool())
    except text_format.ParseError as exc:
        raise ConfigTextError(path, str(exc)) from exc


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError as exc:
        # The real server maps the file into memory: what can be opened but not mapped fails there.
        raise _unreadable(path, errno.ENODEV) from exc
    except OSError as exc:
        raise _unreadable(path, exc.errno or errno.EIO) from exc
    if not content:
        raise _unreadable(path, errno.EINVAL)
    return content


def _unreadable(path: str, number: int) -> StatusError:
    return StatusError(_CODES.get(number, Code.UNKNOWN), f"{path}; {os.strerror(number)}")


def model_server_config(options: ServerOptions) -> Any:
    """The models to serve, as a ModelServerConfig message.

    Raises:
        StatusError: a config file is not there, is empty or does not parse.
        ConfigError: the bundle's folder is no bundle.
    """
    if options.bundle:
        return _bundle_config(Path(options.bundle).absolute())
    if options.model_config_file:
        return read_config(options.model_config_file, "ModelServerConfig")
    return _listed({options.model_name: options.model_base_path})


CONTAINER_MODELS = "/models"
"""Folder of the models in the image tensorflow/serving, which base paths in a bundle's files have."""


def in_bundle(config: Any, folder: Path) -> Any:
    """A ModelServerConfig as a server of the bundle `folder` takes it: base paths of the container are the bundle's own."""
    changed = serving_message("ModelServerConfig")()
    changed.CopyFrom(config)
    for model in changed.model_config_list.config:
        own = folder.absolute() / "models" / model.name
        if model.base_path == f"{CONTAINER_MODELS}/{model.name}" and own.is_dir():
            model.base_path = str(own)
    return changed


def _bundle_config(folder: Path) -> Any:
    """A bundle's `serving/models.config`, or all of its `models/` where it has none.

    The base paths in that file are those of a container; here they are the bundle's own folders.
    """
    models = folder / "models"
    if not models.is_dir():
        fix = "give the folder that tfbundle build wrote, e.g. dist/digits"
        raise ConfigError(f"{folder} is not a bundle: it has no folder models/.", fix=fix)
    written = folder / "serving" / "models.config"
    if not written.is_file():
        found = {path.name: str(path) for path in sorted(models.iterdir()) if path.is_dir()}
        if not found:
            raise ConfigError(f"{models} has no model.", fix="tfbundle build writes one")
        return _listed(found)
    config = read_config(str(written), "ModelServerConfig")
    for model in config.model_config_list.config:
        model.base_path = str(models / model.name)
    return config


def prefers_tflite(folder: Path) -> bool:
    """Whether a bundle is served with `--prefer_tflite_model`: bundle.json keeps what bundle.yaml says.

    Raises:
        ConfigError: its bundle.json cannot be read.
    """
    written = folder / "bundle.json"
    if not written.is_file():
        return False
    try:
        spec = json.loads(written.read_text("utf-8"))["spec"]
        models = [model.get("fast_path") for model in spec["models"]]
        return bool(spec["serving"].get("fast_path") or any(models))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{written} is damaged: {exc!r}.", fix="tfbundle verify says more") from exc


def _listed(base_paths: dict[str, str]) -> Any:
    config = serving_message("ModelServerConfig")()
    for name, base_path in base_paths.items():
        config.model_config_list.config.add(name=name, base_path=base_path, model_platform=TENSORFLOW)
    return config
