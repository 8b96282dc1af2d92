"""Load a version's folder with the servable that fits it."""

from __future__ import annotations

from serving.server.config.options import ServerOptions, cores
from serving.server.servables.bundle_files import check_recorded
from serving.server.servables.protocol import Servable
from serving.server.servables.tflite import TfliteOptions, TfliteServable


def load_servable(path: str, options: ServerOptions) -> Servable:
    """Load the version in folder `path`.

    It is the folder's model.tflite if there is one and the options prefer it, else the SavedModel, as in the real server
    (servables/tensorflow/saved_model_bundle_factory.cc). TensorFlow is imported only for a SavedModel.

    Raises:
        RefusedModelError: the files are not those that the version's bundle records, or the model does more than compute.
        StatusError: the files do not exist, are damaged or cannot run.
    """
    check_recorded(path)
    if options.prefer_tflite and TfliteServable.is_at(path):
        return TfliteServable.load(path, _tflite_options(options))
    from serving.server.servables.saved_model import SavedModelServable, SessionOptions

    return SavedModelServable.load(path, SessionOptions(options.saved_model_tags, *options.threads, options.allow_unsafe_ops))


def _tflite_options(options: ServerOptions) -> TfliteOptions:
    return TfliteOptions(options.tflite_pool_size, options.threads[0] or cores(), options.allow_unsafe_ops)
