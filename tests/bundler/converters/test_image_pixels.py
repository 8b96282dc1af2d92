"""The normalization of pixels in front of a model."""

from __future__ import annotations

import numpy as np
import pytest

from bundler.converters.image_pixels import normalized
from bundler.values.image_form import ImageForm

PIXELS = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
FACTOR, OFFSET = (0.5, 0.25, 0.125), (1.0, 2.0, 3.0)


@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_pixels_are_normalized_in_the_order_of_the_model_s_channels(reversed_: bool, channels_first: bool) -> None:
    form = ImageForm("x", 1, None if channels_first else (0, 2, 3, 1), FACTOR, OFFSET, reversed_)
    moved = np.transpose(PIXELS, (0, 3, 1, 2)) if channels_first else PIXELS
    ordered = PIXELS[..., ::-1] if reversed_ else PIXELS
    want = ordered * np.float32(FACTOR) + np.float32(OFFSET)
    got = normalized(moved, form)
    np.testing.assert_allclose(got, np.transpose(want, (0, 3, 1, 2)) if channels_first else want, rtol=1e-6)


def test_values_that_are_no_pixels_stay_as_they_are() -> None:
    assert normalized(PIXELS, ImageForm("x", 1)) is PIXELS
