"""The file of a SavedModel, read without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from serving.protocol.messages import message, pool

BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"
"""Names of the file in a version's folder. TensorFlow reads the second only if the first does not exist (loader_impl.py)."""

_ASSETS_COLLECTION = "saved_model_assets"
"""Where a SavedModel of TensorFlow 1 lists its assets (python/saved_model/constants.py)."""


def read_saved_model(folder: Path) -> Any:
    """Return the `tensorflow.SavedModel` message that TensorFlow would load from a folder.

    Raises:
        FileNotFoundError: there is no SavedModel in the folder.
        ValueError: the file does not parse.
        OSError: the file cannot be read.
    """
    saved = message("tensorflow.SavedModel")()
    binary, text = folder / BINARY, folder / TEXT
    try:
        if binary.exists() or not text.exists():
            saved.ParseFromString(binary.read_bytes())
        else:
            text_format.Parse(text.read_text("utf-8"), saved, descriptor_pool=pool())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as exc:
        raise ValueError(f"{binary if binary.exists() else text} is damaged: {exc}") from exc
    return saved


def assets(meta_graph: Any) -> list[tuple[str, str]]:
    """Return the assets of a MetaGraphDef message: the tensor that is fed the file's path, and the file's name.

    Raises:
        DecodeError: an entry of the collection does not parse.
    """
    files = list(meta_graph.asset_file_def)
    if not files and _ASSETS_COLLECTION in meta_graph.collection_def:
        kind = message("tensorflow.AssetFileDef")
        files = [kind.FromString(item.value) for item in meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value]
    return [(file.tensor_info.name, file.filename) for file in files]
