"""Running a SavedModel from disk, as TensorFlow Serving does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bundler.errors import ParityError
from bundler.process.causes import cause_of
from bundler.saved_model.summarize import input_names
from bundler.values.arrays import Array


class SavedModel:
    """A SavedModel loaded from disk, called through its signatures as TensorFlow Serving does.

    Raises:
        ParityError: TensorFlow cannot load the folder.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self.folder = folder
        where = str(folder)
        try:
            self._loaded = tf.saved_model.load(where)
        except (OSError, ValueError, tf.errors.OpError) as exc:
            raise ParityError(
                f"TensorFlow cannot load the folder: {cause_of(exc)}.", where=where, code="TFB3404"
            ) from exc

    def __call__(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run a signature on inputs by name, and return the outputs by name.

        Raises:
            ParityError: there is no such signature, its inputs have other names, or TensorFlow failed.
        """
        import tensorflow as tf

        function = self._loaded.signatures.get(signature)
        if function is None:
            raise ParityError(f"The SavedModel has no signature {signature!r}.", where=str(self.folder), code="TFB3404")
        names = input_names(self.folder, signature)
        if names != set(inputs):
            raise ParityError(
                f"The signature {signature!r} has the inputs {sorted(names)}, the model has {sorted(inputs)}.",
                where=str(self.folder),
                code="TFB3404",
            )
        try:
            outputs = function(**{name: tf.constant(array) for name, array in inputs.items()})
        except (tf.errors.OpError, ValueError, TypeError) as exc:
            raise ParityError(f"TensorFlow stopped: {cause_of(exc)}.", where=str(self.folder), code="TFB3404") from exc
        return {name: tensor.numpy() for name, tensor in outputs.items()}
