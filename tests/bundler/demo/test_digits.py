"""The demo's digits network: its data and its training."""

from __future__ import annotations

import numpy as np
import torch

from bundler.demo import digits
from tests.models import load_example


def test_a_quarter_of_the_digits_is_held_out() -> None:
    data = digits.digits()
    assert (data.train_images.shape, data.test_images.shape) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert data.train_images.dtype == np.float32
    assert 0 <= data.train_images.min() < data.train_images.max() == 1


def test_training_learns_and_restores_random_state_and_threads() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model, images = digits.train(epochs=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    data = digits.digits()
    with torch.no_grad():
        answers = model(torch.from_numpy(data.test_images))["logits"].argmax(1).numpy()
    assert np.mean(answers == data.test_labels) > 0.9
    assert images.shape == (2, 1, 8, 8)


def test_the_network_equals_the_one_in_the_examples() -> None:
    """Both files are self-contained, so they can be read and copied on their own."""
    example = load_example("digits_cnn").DigitsCnn()
    assert str(digits.DigitsCnn()) == str(example)
