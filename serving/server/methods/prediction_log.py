"""Answer the requests in PredictionLog messages, as warm-up does (servables/tensorflow/saved_model_warmup.cc)."""

from __future__ import annotations

from typing import Any

from serving.protocol.status import Code, StatusError
from serving.server.config.options import ServerOptions
from serving.server.methods.examples import classify, multi_inference, regress
from serving.server.methods.model_spec import Method
from serving.server.methods.predict import predict
from serving.server.models.core import Handle

_METHODS: dict[str, Method] = {
    "predict_log": predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_inference,
}


def answer_log(handle: Handle, record: Any, options: ServerOptions) -> None:
    """Answer the request of a PredictionLog message with a version. A record without a request is ignored.

    Raises:
        StatusError: UNIMPLEMENTED: the kind of record is not supported, with the number of its field; else the request's error.
    """
    kind = record.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in _METHODS:
        number = record.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    _METHODS[kind](handle, getattr(record, kind).request, options)
