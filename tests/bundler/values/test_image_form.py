"""The form of an image input, and the arithmetic that is left once weights contain a part of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bundler.values.image_form import ImageForm

BGR = ImageForm("x", 1, (0, 2, 3, 1), (0.5, 0.25, 0.125), (1.0, 2.0, 3.0), is_reversed=True)


def test_an_array_becomes_rgb_pixels_in_the_file_s_order() -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    values = np.transpose(pixels[..., ::-1] * np.float32(BGR.factor) + np.float32(BGR.offset), (0, 3, 1, 2))
    np.testing.assert_allclose(BGR.to_file(values), pixels, atol=1e-5)
    assert BGR.to_file(values).flags.c_contiguous and BGR.to_file(values).dtype == np.float32


def test_channels_that_are_last_already_stay_there() -> None:
    form = replace(BGR, axis=3, order=None)
    pixels = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    values = pixels[..., ::-1] * np.float32(form.factor) + np.float32(form.offset)
    np.testing.assert_allclose(form.to_file(values), pixels, atol=1e-5)
    assert (form.file_axis, BGR.file_axis, form.dims((1, 2, 4, 3)), BGR.dims((1, 3, 2, 4))) == (3, 3, (1, 2, 4, 3), (1, 2, 4, 3))


def test_an_unfolded_image_is_only_moved() -> None:
    form = ImageForm("x", 1, (0, 2, 3, 1))
    values = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    assert not form.takes_pixels
    np.testing.assert_array_equal(form.to_file(values), np.transpose(values, (0, 2, 3, 1)))


def test_what_weights_do_not_contain_is_left_in_the_order_of_pixels() -> None:
    left = BGR.centered(done=False)
    assert (left.factor, left.offset, left.is_reversed) == ((1.0, 1.0, 1.0), (24.0, 8.0, 2.0), False)
    assert BGR.centered(done=True).offset == (0.0, 0.0, 0.0)
