from __future__ import annotations

import pytest

from serving.errors import TargetError
from serving.protocol.status import StatusError
from serving.server.config.flags import FLAGS, parse_flags, read_flags
from serving.server.config.options import ServerOptions

BASE = "--model_base_path=/models/m"


def test_flags_of_a_real_command_line_are_read() -> None:
    options = parse_flags([
        "--port=9000", "--rest_api_port=9001", "--model_config_file=/models/models.config",
        "--model_config_file_poll_wait_seconds=60", "--file_system_poll_wait_seconds=5",
        "--allow_version_labels_for_unavailable_models", "--rest_api_timeout_in_ms=1500",
        "--rest_api_enable_cors_support=true", "--enable_grpc_healthcheck_service=1", "--grpc_max_threads=3",
        "--max_num_load_retries=2", "--load_retry_interval_micros=500000", "--saved_model_tags=serve,gpu",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.x=y", "--enable_model_warmup=false",
        "--tensorflow_intra_op_parallelism=4", "--tensorflow_inter_op_parallelism=2",
    ])  # fmt: skip
    assert options == ServerOptions(
        grpc_port=9000, rest_port=9001, model_config_file="/models/models.config", config_poll_seconds=60,
        poll_seconds=5, allow_labels_for_unavailable=True, rest_timeout_seconds=1.5, rest_cors=True, health=True,
        grpc_threads=3, max_load_retries=2, load_retry_seconds=0.5, saved_model_tags=("serve", "gpu"),
        channel_arguments=(("grpc.max_connection_age_ms", 2000), ("grpc.x", "y")), warmup=False,
        intra_op_threads=4, inter_op_threads=2,
    )  # fmt: skip


def test_flag_with_the_default_value_is_returned_too() -> None:
    assert read_flags(["--prefer_tflite_model=false", "--num_unload_threads=2"]) == {"prefer_tflite": False}


def test_defaults_are_those_of_the_real_server() -> None:
    options = parse_flags([BASE])
    assert (options.grpc_port, options.rest_port, options.model_name) == (8500, None, "default")
    assert (options.max_load_retries, options.load_retry_seconds, options.poll_seconds) == (5, 60.0, 1)


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("--prot=1", "unknown argument: --prot=1"),
        ("port=1", "unknown argument: port=1"),
        ("--port", "--port has no value"),
        ("--port=x", "--port must be a number, got 'x'"),
        ("--enable_batching=maybe", "--enable_batching must be true or false, got 'maybe'"),
        ("--use_alts_credentials=true", "--use_alts_credentials is not supported"),
    ],
)
def test_wrong_flag_is_refused(argument: str, error: str) -> None:
    with pytest.raises(TargetError) as wrong:
        parse_flags([BASE, argument])
    assert error in wrong.value.what
    assert wrong.value.fix


def test_near_miss_is_suggested() -> None:
    with pytest.raises(TargetError, match=r"did you mean --rest_api_port"):
        parse_flags(["--rest_port=8501"])


def test_flag_without_effect_says_so(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([BASE, "--num_tflite_interpreters_per_pool=2"])
    assert "--num_tflite_interpreters_per_pool has no effect: interpreters are created as calls need them." in caplog.text


def test_tflite_flags_are_read() -> None:
    options = parse_flags([BASE, "--prefer_tflite_model", "--num_tflite_pools=3"])
    assert (options.prefer_tflite, options.tflite_pool_size) == (True, 3)
    assert parse_flags([BASE, "--num_tflite_pools=0"]).tflite_pool_size == 1
    assert not parse_flags([BASE]).prefer_tflite


@pytest.mark.parametrize(
    ("session", "intra", "inter", "threads"),
    [(0, 0, 0, (0, 0)), (3, 0, 0, (3, 3)), (3, 2, 0, (2, 0)), (3, 0, 2, (0, 2)), (3, 0, -1, (3, 3)), (0, 2, -1, (2, -1)),
     (-1, 0, 0, (0, 0)), (0, -1, 2, (0, 2))],
)  # fmt: skip
def test_session_threads_count_only_without_operator_threads(
    session: int, intra: int, inter: int, threads: tuple[int, int]
) -> None:
    options = parse_flags([
        BASE, f"--tensorflow_session_parallelism={session}", f"--tensorflow_intra_op_parallelism={intra}",
        f"--tensorflow_inter_op_parallelism={inter}",
    ])  # fmt: skip
    assert options.threads == threads


@pytest.mark.parametrize(("text", "tags"), [("", ("serve",)), ("gpu", ("gpu",)), ("serve,gpu", ("serve", "gpu"))])
def test_empty_tags_are_the_default_tag(text: str, tags: tuple[str, ...]) -> None:
    assert parse_flags([BASE, f"--saved_model_tags={text}"]).saved_model_tags == tags


def test_port_zero_is_refused_as_in_the_real_server() -> None:
    with pytest.raises(StatusError, match=r"At least one of server_options\.grpc_port"):
        parse_flags([BASE, "--port=0"])
    assert parse_flags([BASE, "--port=0", "--grpc_socket_path=/tmp/s"]).grpc_port == 0


def test_batching_file_without_batching_is_refused() -> None:
    with pytest.raises(StatusError, match=r"without setting server_options\.enable_batching"):
        parse_flags([BASE, "--batching_parameters_file=/x"]).check_session()


def test_every_flag_sets_an_option_or_says_why_not() -> None:
    fields = set(ServerOptions.__dataclass_fields__)
    for name, flag in FLAGS.items():
        assert (flag.option in fields) if flag.option else flag.why, name


def test_limits_of_requests_are_read() -> None:
    options = parse_flags([
        BASE, "--max_request_bytes=1", "--max_decoded_bytes=2", "--max_tensor_elements=3", "--max_nesting=4",
        "--max_large_bodies=5", "--write_timeout_in_ms=1500", "--allowed_hosts=A.example, b.example,",
    ])  # fmt: skip
    assert (options.max_request_bytes, options.max_decoded_bytes, options.max_tensor_elements) == (1, 2, 3)
    assert (options.max_nesting, options.max_large_bodies, options.write_timeout_seconds) == (4, 5, 1.5)
    assert options.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
def test_limit_must_be_a_number_above_0(value: str) -> None:
    with pytest.raises(TargetError) as wrong:
        parse_flags([BASE, f"--max_request_bytes={value}"])
    assert wrong.value.what == f"--max_request_bytes must be a number above 0, got {value!r}."


def test_mixed_precision_has_one_mode() -> None:
    assert parse_flags([BASE, "--mixed_precision=bfloat16"]).mixed_precision == "bfloat16"
    assert parse_flags([BASE, "--mixed_precision="]).mixed_precision == ""
    with pytest.raises(TargetError, match="must be bfloat16, got 'float16'") as wrong:
        parse_flags([BASE, "--mixed_precision=float16"])
    assert wrong.value.fix == "write it like --mixed_precision=bfloat16"
