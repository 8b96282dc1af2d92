"""Config files of a server: text protos, and the models in a bundle's folder."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.config.mixed_precision import mixed_precision
from serving.errors import ConfigError
from serving.protocol.messages import pool, serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.regular_file import NotRegularError, read_regular
from serving.server.config.options import ServerOptions
from serving.texts import is_utf8

TENSORFLOW = "tensorflow"
"""The only model platform (model_servers/model_platform_types.h)."""

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
"""Status code of each errno (TensorFlow's tsl/platform/errors.cc); any other errno is UNKNOWN."""


class ConfigTextError(StatusError):
    """A config file that does not parse.

    Attributes:
        detail: line, column and what the parser expected there, in printable text.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'")
        # A byte that is not UTF-8 is a surrogate here, which cannot be printed.
        self.detail = detail.encode("utf-8", "backslashreplace").decode()


def read_config(path: str, name: str) -> Any:
    """Read a text proto of a message in package tensorflow.serving.

    Bytes that are not UTF-8 are allowed in comments. In a string they are an error here, although the real server accepts
    them: messages in Python cannot hold them.

    Args:
        path: the file.
        name: the message's name, e.g. `ModelServerConfig`.

    Raises:
        StatusError: the file cannot be read, is empty or does not parse; codes and texts are those of util/proto_util.h and
            TensorFlow's posix_file_system.cc. A FIFO, a device or a file of more than 16 MiB is refused, too; opening a FIFO
            would make the real server wait.
    """
    text = _read(path).decode("utf-8", "surrogateescape")
    try:
        return text_format.Parse(text, serving_message(name)(), descriptor_pool=pool())
    except text_format.ParseError as exc:
        raise ConfigTextError(path, str(exc)) from exc


def _read(path: str) -> bytes:
    try:
        content = read_regular(path)
    except NotRegularError as exc:
        raise invalid_argument(f"{path} cannot be read: {exc.strerror}") from exc
    except IsADirectoryError as exc:
        # The real server maps the file into memory; a folder can be opened but not mapped.
        raise unreadable(path, errno.ENODEV) from exc
    except OSError as exc:
        raise unreadable(path, exc.errno or errno.EIO) from exc
    if not content:
        raise unreadable(path, errno.EINVAL)
    return content


def unreadable(path: str, number: int) -> StatusError:
    """Return the real server's error for a file or folder that cannot be read, given the errno."""
    return StatusError(_CODES.get(number, Code.UNKNOWN), f"{path}; {os.strerror(number)}")


def model_server_config(options: ServerOptions) -> Any:
    """Return the models to serve as a ModelServerConfig message.

    Raises:
        StatusError: a config file does not exist, is empty or does not parse.
        ConfigError: the bundle's folder is not a bundle, or a model in its config has a name that leads out of it.
    """
    if options.bundle:
        return _bundle_config(Path(options.bundle).absolute())
    if options.model_config_file:
        return read_config(options.model_config_file, "ModelServerConfig")
    return _config_of({options.model_name: options.model_base_path})


_BUNDLE_LIMIT = 256 * 1024 * 1024
"""Most bytes of a bundle.json, which lists every file of every version."""

CONTAINER_MODELS = "/models"
"""Folder of the models in the image tensorflow/serving; the base paths in a bundle's config files start with it."""


def in_bundle(config: Any, folder: Path) -> Any:
    """Return a ModelServerConfig with each base path in the container replaced by the model's folder in the bundle.

    Args:
        config: the ModelServerConfig message, which stays as it is.
        folder: the bundle.
    """
    local = serving_message("ModelServerConfig")()
    local.CopyFrom(config)
    for model in local.model_config_list.config:
        base_path = folder.absolute() / "models" / model.name
        if _is_folder_name(model.name) and model.base_path == f"{CONTAINER_MODELS}/{model.name}" and base_path.is_dir():
            model.base_path = str(base_path)
    return local


def _bundle_config(folder: Path) -> Any:
    """Return a bundle's `serving/models.config`, or a config of all folders in `models/` if it has no such file.

    The base paths in that file are those in a container; they are replaced by the bundle's own folders.
    """
    models = folder / "models"
    _check_utf8(str(models))
    if not models.is_dir():
        fix = "give the folder that tfbundle build wrote, e.g. dist/digits"
        raise ConfigError(f"{folder} is not a bundle: it has no folder models/.", fix=fix, code="TFB6003")
    file = folder / "serving" / "models.config"
    if not file.is_file():
        base_paths = {path.name: str(path) for path in sorted(models.iterdir()) if path.is_dir()}
        if not base_paths:
            raise ConfigError(
                f"{models} contains no models.",
                fix="build the bundle with `tfbundle build SOURCE -o DIR`",
                code="TFB6003",
            )
        return _config_of(base_paths)
    config = read_config(str(file), "ModelServerConfig")
    for model in config.model_config_list.config:
        if not _is_folder_name(model.name):
            what = f"{file} has a model with the name {model.name!r}, which cannot be a folder in models/."
            raise ConfigError(what, fix="run `tfbundle verify DIR` for details", code="TFB5102")
        model.base_path = str(models / model.name)
    return config


def _is_folder_name(name: str) -> bool:
    """Return whether a model's name is one part of a path, so that its folder cannot be outside the bundle."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def bundle_settings(folder: Path) -> dict[str, Any]:
    """Return the options that a bundle is to be served with, as its bundle.json says: `prefer_tflite` and `mixed_precision`.

    Raises:
        ConfigError: bundle.json cannot be read.
    """
    file = folder / "bundle.json"
    if not file.is_file():
        return {"prefer_tflite": False, "mixed_precision": ""}
    try:
        manifest = json.loads(read_regular(file, _BUNDLE_LIMIT))
        spec = manifest["spec"]
        prefers_tflite = bool(spec["serving"].get("fast_path") or any(model.get("fast_path") for model in spec["models"]))
        return {"prefer_tflite": prefers_tflite, "mixed_precision": mixed_precision(manifest)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ConfigError(
            f"{file} is damaged: {exc!r}.", fix="run `tfbundle verify DIR` for details", code="TFB5102"
        ) from exc


def _check_utf8(*texts: str) -> None:
    """Raise if a text from the command line or the file system cannot be put into a message."""
    for text in texts:
        if not is_utf8(text):
            raise ConfigError(
                f"{text!a} is not UTF-8, as names and paths of models have to be.",
                fix="rename the folder",
                code="TFB6003",
            )


def _config_of(base_paths: dict[str, str]) -> Any:
    config = serving_message("ModelServerConfig")()
    for name, base_path in base_paths.items():
        _check_utf8(name, base_path)
        config.model_config_list.config.add(name=name, base_path=base_path, model_platform=TENSORFLOW)
    return config
