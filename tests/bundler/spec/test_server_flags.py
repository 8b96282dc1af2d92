"""serving.flags: names and values are the server's, and reach every command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.render import docker, kubernetes, tf_serving
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.server_flags import SETTINGS, as_argument
from serving.server.config.flags import FLAGS, UNSUPPORTED
from tests.bundler.render.conftest import make_context

FLAGS_OF_A_USER = {"tensorflow_intra_op_parallelism": 2, "enable_profiler": True, "rest_api_num_threads": 16}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tensorflow_intra_op_paralelism": 2}, "did you mean 'tensorflow_intra_op_parallelism'"),
        ({"enable_playground": True}, "tensorflow_model_server has no flag 'enable_playground'"),
        ({"port": 9000}, "set serving.grpc_port instead"),
        ({"num_load_threads": "many"}, "--num_load_threads must be a number"),
        ({"saved_model_tags": "serve\n- --x"}, "one line of printable characters"),
        ({"num_load_threads": [1]}, "num_load_threads"),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec({"serving": {"flags": flags}}, where="bundle.yaml")


def test_flags_that_only_the_real_server_has_are_taken() -> None:
    flags = dict.fromkeys(UNSUPPORTED, "value") | {"xla_cpu_compilation_enabled": True, "num_unload_threads": 1}
    assert parse_spec({"serving": {"flags": flags}}, where="bundle.yaml").serving.flags == flags


def test_the_settings_stand_for_flags_of_the_server() -> None:
    assert set(SETTINGS) <= set(FLAGS)


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (2, "2"), (0.5, "0.5"), ("a=b", "a=b")])
def test_a_value_becomes_the_text_that_the_server_reads(value: Any, text: str) -> None:
    assert as_argument("x", value) == f"--x={text}"


def test_flags_reach_every_command_line_once(tmp_path: Path) -> None:
    context = make_context(serving={"flags": FLAGS_OF_A_USER})
    kubernetes.render(context, tmp_path)
    docker.render(context, tmp_path)
    for path in ("k8s/base/deployment.yaml", "k8s/chart/values.yaml", "k8s/kserve/servingruntime.yaml", "docker/Dockerfile"):
        text = (tmp_path / path).read_text()
        for name, value in FLAGS_OF_A_USER.items():
            assert text.count(as_argument(name, value)) == 1 and text.count(f"--{name}=") == 1, path
    assert "--tensorflow_intra_op_parallelism=2" in tf_serving.server_flags(context)
