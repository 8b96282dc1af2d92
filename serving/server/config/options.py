"""`ServerOptions`: what a server is started with, with tensorflow_model_server's meanings and defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from serving.protocol.status import invalid_argument

LOCALHOST = "127.0.0.1"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server, one field per flag of tensorflow_model_server, with its defaults (model_servers/server.h).

    Attributes:
        host: address to listen on. The real server listens on all addresses; the default here is this machine only.
        bundle: folder of a bundle to serve, instead of model_config_file or model_base_path.
        grpc_port: 0 picks a free port.
        rest_port: 0 picks a free port, None turns REST off.
        rest_threads, grpc_threads: requests that run at once; more wait.
        config_poll_seconds: seconds between two readings of the model config; 0 reads it once.
        poll_seconds: seconds between two scans for new versions; 0 scans once, a negative number never.
        load_retry_seconds: wait before a failed load is tried again.
        settle_seconds: how long a version's newly written folder must be unchanged before it is loaded.
        grace_seconds: how long `stop()` waits for running requests.
        per_model_batching: batch only versions whose folder has a batching_params.pbtxt, with its parameters.
        log_requests: folder for the log of requests and responses; empty turns it off.
        log_requests_sample_rate: share of the requests that is logged, 0 to 1.
        log_format: format of the server's own log, `text` or `json`; `json` adds a line per request.
        tracing: record OpenTelemetry spans of requests; the OTEL_* environment variables say where they go.
        prefer_tflite: serve the model.tflite in a version's folder if there is one.
        mixed_precision: `bfloat16` lets TensorFlow compute the products of SavedModels in bfloat16; empty: as they were built.
        tflite_pool_size: calls of one model.tflite that run at once; more wait.
        session_threads: value of intra_op_threads and inter_op_threads if neither is set; see `threads`.
        channel_arguments: options that are passed to the gRPC server.
        reload_base_path: folder whose models a client may load with HandleReloadConfigRequest; empty for the default, see
            `serving.server.models.reload_paths`.
        versions_always_present: keep the last versions of a model although its base path has no version any more.
        allow_unsafe_ops: load models whose operators reach out of the graph, to files or the network for example.
        playground: show the playground at `/` of the REST port.
        open_inference_protocol: answer the Open Inference Protocol too, over REST below /v2 and over gRPC.
        max_concurrent_rpcs: gRPC calls at once, those included that wait for a thread, their message or their reader; more are
            refused.
        max_request_bytes: most bytes of a request as it is sent, over REST and gRPC: an array of 32 MiB and what is around it.
        max_decoded_bytes: most bytes of a request once it is unpacked and its values are decoded, and most bytes of memory
            that this takes for all large JSON bodies at once.
        max_tensor_elements: most elements of all tensors of a request together.
        max_nesting: most arrays and objects of a JSON body inside each other.
        max_large_bodies: large JSON bodies that are decoded at once; more wait.
        write_timeout_seconds: how long a client may take to read the next part of an answer.
        allowed_hosts: names that a REST request's Host header may have besides this machine's; empty allows all, unless
            `host` is this machine only.
    """

    host: str = LOCALHOST
    bundle: str = ""
    grpc_port: int = 8500
    grpc_socket_path: str = ""
    rest_port: int | None = None
    rest_threads: int = field(default_factory=_threads)
    rest_timeout_seconds: float = 30.0
    rest_cors: bool = False
    grpc_threads: int = field(default_factory=_threads)
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    reload_base_path: str = ""
    versions_always_present: bool = False
    ssl_config_file: str = ""
    health: bool = False
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    config_poll_seconds: float = 0
    poll_seconds: float = 1
    num_load_threads: int = 0
    max_load_retries: int = 5
    load_retry_seconds: float = 60.0
    settle_seconds: float = 0.5
    allow_labels_for_unavailable: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    per_model_batching: bool = False
    monitoring_config_file: str = ""
    warmup: bool = True
    warmup_iterations: int = 1
    saved_model_tags: tuple[str, ...] = ("serve",)
    check_method_names: bool = False
    answer_as_tensor_content: bool = False
    log_requests: str = ""
    log_requests_sample_rate: float = 1.0
    log_format: str = "text"
    tracing: bool = False
    prefer_tflite: bool = False
    allow_unsafe_ops: bool = False
    mixed_precision: str = ""
    tflite_pool_size: int = field(default_factory=cores)
    session_threads: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    grace_seconds: float = 30.0
    playground: bool = True
    open_inference_protocol: bool = False
    max_concurrent_rpcs: int = 512
    max_request_bytes: int = 33 * 2**20
    max_decoded_bytes: int = 512 * 2**20
    max_tensor_elements: int = 100_000_000
    max_nesting: int = 128
    max_large_bodies: int = 2
    write_timeout_seconds: float = 30.0
    allowed_hosts: tuple[str, ...] = ()

    @property
    def threads(self) -> tuple[int, int]:
        """Threads within an op and number of ops that run at once; 0 lets TensorFlow choose.

        If either is set, session_threads is ignored and the other keeps its value (server.cc). Negative numbers of threads
        within an op or a session count as 0, as TensorFlow would abort the process.
        """
        if self.intra_op_threads > 0 or self.inter_op_threads > 0:
            return max(self.intra_op_threads, 0), self.inter_op_threads
        both = max(self.session_threads, 0)
        return both, both

    def check(self) -> None:
        """Raise if the real server would refuse to start before it reads a file (model_servers/server.cc, BuildAndStart).

        Raises:
            StatusError: INVALID_ARGUMENT with the real server's text.
        """
        if not (self.bundle or self.model_base_path or self.model_config_file):
            raise invalid_argument(
                "Both server_options.model_base_path and server_options.model_config_file are empty!"
            )

    def check_session(self) -> None:
        """Raise if the real server would refuse to start after it has read the model config (the same function).

        Raises:
            StatusError: INVALID_ARGUMENT with the real server's text.
        """
        if self.batching_parameters_file and not self.enable_batching:
            raise invalid_argument(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching "
                "to true."
            )
        if min(self.session_threads, self.intra_op_threads, self.inter_op_threads) > 0:
            raise invalid_argument(
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                "separately. You cannot configure all."
            )
