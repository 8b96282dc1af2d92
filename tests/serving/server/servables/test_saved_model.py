"""A SavedModel: loading, damage, dtypes and the order of results."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import rewriter_config_pb2

from serving.protocol.status import Code, StatusError
from serving.server.servables.saved_model import SavedModelServable, SessionOptions, _session_config
from tests.serving.server.recordings import MODELS


@pytest.fixture
def servable() -> Iterator[SavedModelServable]:
    loaded = SavedModelServable.load(str(MODELS / "rows" / "2"), SessionOptions())
    yield loaded
    loaded.close()


def test_results_follow_the_order_of_fetches(servable: SavedModelServable) -> None:
    signature = servable.signatures["two"]
    feeds = {
        signature.inputs["a"].name: np.array([1.5], np.float32),
        signature.inputs["b"].name: np.array([2], np.int32),
    }
    results = servable.run(feeds, [signature.outputs[alias].name for alias in "dcd"])
    assert [result.tolist() for result in results] == [[4], [5.0], [4]]


def test_wrong_dtype_and_unknown_tensor_are_refused(servable: SavedModelServable) -> None:
    (info,) = servable.signatures["single"].inputs.values()
    with pytest.raises(StatusError, match=r"Expects arg\[0\] to be float but double is provided"):
        servable.run({info.name: np.ones((1, 4))}, [])
    with pytest.raises(StatusError) as unknown:
        servable.run({info.name: np.ones((1, 4), np.float32)}, ["no_such_tensor:0"])
    assert unknown.value.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)


@pytest.mark.parametrize(
    ("tags", "files", "code", "error"),
    [
        (("serve",), (), Code.NOT_FOUND, "does not appear to contain a SavedModel bundle"),
        (("gpu",), ("saved_model.pb", "variables"), Code.NOT_FOUND, "Could not find meta graph def matching supplied tags"),
        (("serve",), ("saved_model.pb",), Code.INVALID_ARGUMENT, "is not a valid checkpoint"),
    ],
    ids=["no files", "other tags", "no variables"],
)
def test_incomplete_folder_does_not_load(
    tags: tuple[str, ...], files: tuple[str, ...], code: Code, error: str, tmp_path: Path
) -> None:
    for name in files:
        source = MODELS / "rows" / "2" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    with pytest.raises(StatusError) as failed:
        SavedModelServable.load(str(tmp_path), SessionOptions(tags))
    assert failed.value.code is code
    assert error in failed.value.message


@pytest.mark.parametrize("mode", ["", "bfloat16"])
def test_mixed_precision_is_an_option_of_the_session(mode: str) -> None:
    rewrites = _session_config(SessionOptions(mixed_precision=mode), fuses=True).graph_options.rewrite_options
    assert (rewrites.auto_mixed_precision_onednn_bfloat16 == rewriter_config_pb2.RewriterConfig.ON) == bool(mode)
