"""SavedModels run from disk: outputs, and what cannot be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundler.errors import ParityError
from bundler.saved_model.runner import SavedModel
from tests.bundler.hand_written import examples, pytorch


def test_the_outputs_are_those_of_pytorch(saved: Path) -> None:
    outputs = SavedModel(saved)("serving_default", examples())
    expected = pytorch(examples())
    np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
    assert outputs["label"].tolist() == expected["label"].tolist()


def test_a_wrong_signature_input_or_shape_is_reported(saved: Path) -> None:
    model = SavedModel(saved)
    with pytest.raises(ParityError, match="no signature 'other'"):
        model("other", examples())
    with pytest.raises(ParityError, match=r"has the inputs \['ids', 'image'\], the model has \['ids'\]"):
        model("serving_default", {"ids": examples()["ids"]})
    with pytest.raises(ParityError, match="TensorFlow stopped"):
        model("serving_default", {**examples(), "image": np.zeros((2, 3), np.float32)})


def test_a_folder_without_saved_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="TensorFlow cannot load the folder"):
        SavedModel(tmp_path)
