"""A SavedModel that classifies grey images by brightness, for tests of the playground."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


class Brightness(tf.Module):
    """Signatures with images: `serving_default(image=float32[?,1,8,8]) -> logits=float32[?,3]` (dark, middle, bright),
    `colour(picture=float32[?,?,?,3]) -> mean=float32[?,3]` and `file(image_bytes=string[?]) -> size=int32[?]`."""

    @tf.function(input_signature=[tf.TensorSpec([None, 1, 8, 8], tf.float32, name="image")])
    def grey(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = tf.reduce_mean(image, [1, 2, 3])
        return {"logits": -40.0 * tf.square(mean[:, None] - tf.constant([[0.0, 0.5, 1.0]]))}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="picture")])
    def colour(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(picture, [1, 2])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def file(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"size": tf.strings.length(image_bytes)}


def save_pictures(path: Path) -> None:
    module = Brightness()
    signatures = {"serving_default": module.grey, "colour": module.colour, "file": module.file}
    tf.saved_model.save(module, str(path), signatures=signatures)
