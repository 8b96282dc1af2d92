"""Config files that a server reads: text protos, and the models of a bundle's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protocol.messages import pool, serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.options import ServerOptions

TENSORFLOW = "tensorflow"
"""The one model platform (model_servers/model_platform_types.h)."""


class ConfigTextError(StatusError):
    """A config file that does not parse.

    Attributes:
        detail: line, column and what the parser expected there.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'")
        self.detail = detail


def read_config(path: str, name: str) -> Any:
    """Read a text proto of a message in package tensorflow.serving.

    Raises:
        StatusError: the file is not there, is empty or does not parse, with the texts of util/proto_util.h.
    """
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError as exc:
        raise StatusError(Code.NOT_FOUND, f"{path}; No such file or directory") from exc
    except OSError as exc:
        raise invalid_argument(f"{path}; {exc.strerror}") from exc
    if not text:
        # The real server maps the file into memory, which an empty one refuses.
        raise invalid_argument(f"{path}; Invalid argument")
    try:
        return text_format.Parse(text, serving_message(name)(), descriptor_pool=pool())
    except text_format.ParseError as exc:
        raise ConfigTextError(path, str(exc)) from exc


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
