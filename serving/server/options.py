"""What a server is started with: `ServerOptions`, with tensorflow_model_server's meaning and defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from serving.protocol.status import invalid_argument

LOCALHOST = "127.0.0.1"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class ServerOptions:
    """One field a flag of tensorflow_model_server; the defaults are its own (model_servers/server.h).

    Attributes:
        host: address to listen on. The real server listens on every one; this one serves its own machine unless
            told otherwise.
        bundle: folder of a bundle to serve, in place of model_config_file or model_base_path.
        grpc_port: 0 picks a free port.
        rest_port: 0 picks a free port, None serves no REST.
        rest_threads, grpc_threads: requests worked on at once; more wait.
        config_poll_seconds: seconds between two readings of the model config; 0 reads it once.
        poll_seconds: seconds between two looks for new versions; 0 looks once, a negative number never.
        load_retry_seconds: wait before a failed load is tried again.
        settle_seconds: how long a version's folder that was just written has to be unchanged before it is loaded.
        grace_seconds: how long `stop()` waits for requests under way.
        per_model_batching: batch only models whose version's folder has a batching_params.pbtxt, as that says.
        log_requests: folder to write a share (`log_requests_sample_rate`, 0 to 1) of the requests and answers to; empty: none.
        log_format: of the server's own log, `text` or `json`; the latter has a line for each request.
        prefer_tflite: serve the model.tflite of a version's folder where there is one.
        tflite_pool_size: calls of one model.tflite that run at once; more wait.
        session_threads: intra_op_threads and inter_op_threads, where neither is given; see `threads`.
        channel_arguments: options of the gRPC server, passed on.
        playground: show the page at `/` of the REST port.
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
    prefer_tflite: bool = False
    tflite_pool_size: int = field(default_factory=cores)
    session_threads: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    grace_seconds: float = 30.0
    playground: bool = True

    @property
    def threads(self) -> tuple[int, int]:
        """Threads within an op, and ops at once; 0 lets TensorFlow choose.

        Where one of the two is given, session_threads is not looked at and the other stays as it is (server.cc). Below 0,
        threads within an op and of a session are none: TensorFlow aborts the process with them.
        """
        if self.intra_op_threads > 0 or self.inter_op_threads > 0:
            return max(self.intra_op_threads, 0), self.inter_op_threads
        both = max(self.session_threads, 0)
        return both, both

    def check(self) -> None:
        """Refuse what the real server refuses before it reads a file (model_servers/server.cc, BuildAndStart).

        Raises:
            StatusError: INVALID_ARGUMENT with its text.
        """
        if not (self.bundle or self.model_base_path or self.model_config_file):
            raise invalid_argument(
                "Both server_options.model_base_path and server_options.model_config_file are empty!"
            )

    def check_session(self) -> None:
        """Refuse what the real server refuses once it has read the model config (model_servers/server.cc, BuildAndStart).

        Raises:
            StatusError: INVALID_ARGUMENT with its text.
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
