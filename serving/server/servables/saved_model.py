"""A loaded SavedModel.

It runs in a TensorFlow session, as in the real server (cc/saved_model/loader.cc), so that the accepted inputs, the order in
which ops fail and the texts of their errors are the same. A session call costs about 30 µs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from serving.protocol.messages import message
from serving.protocol.status import Code, StatusError, invalid_argument, not_found
from serving.protocol.tensors import Array, array_dtype_name, as_array
from serving.server.observability.tracing import mark
from serving.server.servables.dtype_error import wrong_dtype
from serving.server.servables.safety import check_saved_model
from serving.server.servables.zero_sizes import has_fused_products, needs_unfused_products

log = logging.getLogger(__name__)

Runner = Callable[..., list[Any]]

_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


class _NoDeprecationNotice(logging.Filter):
    """Drops TensorFlow's notice that the session loader is deprecated; this server needs sessions."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for the notice."""
        return "tensorflow.python.saved_model.loader_impl" not in record.getMessage()


tf.get_logger().addFilter(_NoDeprecationNotice())


@dataclass(frozen=True)
class SessionOptions:
    """How a SavedModel is loaded.

    Attributes:
        tags: tags of the meta graph to load.
        intra_op_threads: threads within an op; 0 lets TensorFlow choose.
        inter_op_threads: ops that run at once; 0 lets TensorFlow choose.
        allow_unsafe_ops: whether the model may have operators that reach out of the graph.
        mixed_precision: `bfloat16` lets TensorFlow compute products in bfloat16; empty for the model's own precision.
    """

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    allow_unsafe_ops: bool = False
    mixed_precision: str = ""


class SavedModelServable:
    """A `Servable` that runs a SavedModel in a session of its own."""

    def __init__(
        self, path: str, session: tf.compat.v1.Session, signatures: dict[str, Any], *, takes_empty: bool = True
    ) -> None:
        self.path = path
        self._takes_empty = takes_empty
        self.signatures = signatures
        self._session = session
        self._runners: dict[tuple[tuple[str, ...], tuple[str, ...]], Runner] = {}
        self._dtypes: dict[str, str] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str, options: SessionOptions) -> SavedModelServable:
        """Load the SavedModel in folder `path`.

        Raises:
            RefusedModelError: it does more than compute, and that is not allowed.
            StatusError: it does not exist, is damaged, or cannot run in this TensorFlow.
        """
        _check_files(path)
        if not options.allow_unsafe_ops:
            check_saved_model(path)
        session, graph = _opened(path, options, fuses=True)
        if needs_unfused_products(graph.graph_def):
            log.info("%s: products of arrays without fixed shapes are run unfused, as they may be empty.", path)
            session.close()
            session, graph = _opened(path, options, fuses=False)
        signatures = {name: _own_message(signature) for name, signature in sorted(graph.signature_def.items())}
        return cls(path, session, signatures, takes_empty=not has_fused_products(graph.graph_def))

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the graph in the session, as `Runnable.run` describes.

        Raises:
            StatusError: with the code and text of the op that failed, or an unknown tensor's.
        """
        mark("run")
        names = tuple(sorted(feeds))
        self._check_dtypes(feeds, names)
        if not self._takes_empty:
            _check_filled(feeds, names)
        unique = tuple(dict.fromkeys(fetches))
        try:
            runner = self._runner(names, unique)
            results = dict(zip(unique, runner(*(feeds[name] for name in names)), strict=True))
        except tf.errors.OpError as exc:
            raise StatusError(Code(exc.error_code), exc.message) from exc
        except UnicodeDecodeError as exc:
            # TensorFlow raises this for an error text that is not UTF-8, and the code is lost. Such texts quote bad input.
            raise invalid_argument(exc.object.decode(errors="surrogateescape")) from exc
        return [as_array(results[name]) for name in fetches]

    def close(self) -> None:
        """Free the session and its variables. No request may be running."""
        self._runners.clear()
        self._session.close()

    def _check_dtypes(self, feeds: Mapping[str, Array], names: tuple[str, ...]) -> None:
        for index, name in enumerate(names):
            expected, actual = self._dtype(name), array_dtype_name(feeds[name])
            if actual != expected:
                raise wrong_dtype(index, expected=expected, actual=actual)

    def _dtype(self, name: str) -> str:
        if name not in self._dtypes:
            self._dtypes[name] = str(self._session.graph.get_tensor_by_name(name).dtype.base_dtype.name)
        return self._dtypes[name]

    def _runner(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Runner:
        key = (feeds, fetches)
        runner = self._runners.get(key)
        if runner is None:
            with self._lock:
                runner = self._runners.get(key) or self._make_runner(feeds, fetches)
                self._runners[key] = runner
        return runner

    def _make_runner(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Runner:
        """Make a callable that skips Session.run's Python layer, which is 5 times slower and checks static shapes."""
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        runner: Runner = self._session._make_callable_from_options(options)
        return runner


def _opened(path: str, options: SessionOptions, *, fuses: bool) -> tuple[tf.compat.v1.Session, Any]:
    """Return a session with the graph and its variables, and the MetaGraphDef.

    Args:
        path: the SavedModel's folder.
        options: how it is loaded.
        fuses: whether TensorFlow may fuse ops (grappler's remapper).
    """
    session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config(options, fuses=fuses))
    try:
        graph = _load_graph(session, path, options.tags)
        _check_variables(path, graph)
    except BaseException:
        session.close()
        raise
    return session, graph


def _session_config(options: SessionOptions, *, fuses: bool) -> Any:
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
        use_per_session_threads=bool(options.intra_op_threads or options.inter_op_threads),
    )
    rewrites = config.graph_options.rewrite_options
    if not fuses:
        rewrites.remapping = rewriter_config_pb2.RewriterConfig.OFF
    if options.mixed_precision == "bfloat16":
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return config


def _check_filled(feeds: Mapping[str, Array], names: tuple[str, ...]) -> None:
    """Raise INVALID_ARGUMENT for an array without elements."""
    for name in names:
        if not feeds[name].size:
            raise invalid_argument(
                f"Input {name} of shape {list(feeds[name].shape)} has no elements. This model was saved with fused products, "
                "which cannot compute with such an array."
            )


def _check_files(path: str) -> None:
    folder = Path(path)
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise not_found(
            "Specified file path does not appear to contain a SavedModel bundle "
            f"(should have a file called `saved_model.pb`)\nSpecified file path: {path}"
        )


def _load_graph(session: tf.compat.v1.Session, path: str, tags: tuple[str, ...]) -> Any:
    """Import the graph, restore its variables and return the MetaGraphDef."""
    try:
        with session.graph.as_default():
            return tf.compat.v1.saved_model.load(session, list(tags), path)
    except tf.errors.OpError as exc:
        # TensorFlow's Python code appends where the op was created, which is this file.
        message = exc.message.split("\n\nOriginal stack trace")[0].split("\n\nErrors may have originated")[0]
        raise StatusError(Code(exc.error_code), message) from exc
    except RuntimeError as exc:
        if "could not be found in SavedModel" not in str(exc):
            raise
        raise not_found(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. "
            f"To inspect available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
        ) from exc
    except OSError as exc:
        # C++'s error for a message that does not parse (ReadBinaryProto, platform/env.cc).
        raise StatusError(Code.OUT_OF_RANGE, "Read less bytes than requested") from exc
    except ValueError as exc:
        raise invalid_argument(str(exc)) from exc


def _check_variables(path: str, graph: Any) -> None:
    """Raise if the files of the variables are missing: the model would load but fail every request."""
    ops = (node.op for node in graph.graph_def.node)
    index = Path(path) / "variables" / "variables.index"
    if not index.is_file() and not _VARIABLE_OPS.isdisjoint(ops):
        raise not_found(f"The SavedModel has variables, but there is no file {index}")


def _own_message(signature: Any) -> Any:
    """Convert TensorFlow's SignatureDef to the message class of `serving.protocol.messages`."""
    return message("tensorflow.SignatureDef").FromString(signature.SerializeToString())
