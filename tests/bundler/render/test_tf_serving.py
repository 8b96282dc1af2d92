"""serving/: config files and flags that agree, and settings that cannot be served."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.render import RenderContext, tf_serving
from bundler.render.kubernetes import base
from serving.config.batching import BatchingParameters
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.monitoring import MonitoringConfig
from serving.config.version_policy import Latest, Specific
from tests import requirements
from tests.bundler.render.conftest import make_context


def test_config_files_hold_the_settings(context: RenderContext, tmp_path: Path) -> None:
    written = tf_serving.render(context, tmp_path)
    folder = tmp_path / "serving"
    assert {p.name for p in written} == {
        "models.config",
        "batching.config",
        "monitoring.config",
        "README.md",
    }
    assert all(p.parent == folder for p in written)
    assert ModelServerConfig.from_text((folder / "models.config").read_text()).models == (
        ServedModel("digits", "/models/digits", Specific((1, 3)), {"stable": 1, "canary": 3}),
        ServedModel("minilm", "/models/minilm", Latest()),
    )
    assert BatchingParameters.from_text((folder / "batching.config").read_text()) == BatchingParameters(
        max_batch_size=32,
        batch_timeout_micros=1000,
        max_enqueued_batches=100,
        allowed_batch_sizes=(8, 32),
    )
    assert MonitoringConfig.from_text((folder / "monitoring.config").read_text()).enable


def test_batches_smaller_than_a_warm_up_record_are_rejected(tmp_path: Path) -> None:
    context = make_context(serving={"batching": True, "max_batch_size": 4})
    models = (replace(context.models[0], largest_batch=5), *context.models[1:])
    with pytest.raises(SpecError, match=r"max_batch_size is 4, but the warm-up of 'digits' has a request of 5 rows"):
        tf_serving.render(replace(context, models=models), tmp_path)
    assert not list(tmp_path.iterdir())
    fitting = make_context(serving={"batching": True, "max_batch_size": 5})
    assert "batching.config" in tf_serving.config_files(replace(fitting, models=models))
    unbatched = make_context(serving={"max_batch_size": 4})
    assert "batching.config" not in tf_serving.config_files(replace(unbatched, models=models))


def test_flags_name_exactly_the_written_files(
    context: RenderContext, plain: RenderContext
) -> None:
    for case in (context, plain):
        named = {Path(f.split("=")[1]).name for f in tf_serving.server_flags(case) if "_file=" in f}
        assert named == set(tf_serving.config_files(case))


def test_flags_with_all_settings(context: RenderContext) -> None:
    assert tf_serving.server_flags(context) == (
        "--port=8500",
        "--rest_api_port=8501",
        "--rest_api_num_threads=64",
        "--model_config_file=/etc/tf-serving/models.config",
        "--tensorflow_intra_op_parallelism=1",
        "--monitoring_config_file=/etc/tf-serving/monitoring.config",
        "--enable_batching=true",
        "--batching_parameters_file=/etc/tf-serving/batching.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_profiler=false",
    )


def test_flags_with_the_fewest_settings() -> None:
    least = make_context(serving={"monitoring": False, "grpc_port": 9000, "rest_port": 9001})
    assert tf_serving.server_flags(least, "/x") == (
        "--port=9000",
        "--rest_api_port=9001",
        "--rest_api_num_threads=64",
        "--model_config_file=/x/models.config",
        "--tensorflow_intra_op_parallelism=1",
        "--enable_profiler=false",
    )


@pytest.mark.parametrize(
    ("serving", "other", "cores", "threads"),
    [
        ({}, {}, None, ["intra=1"]),
        ({}, {}, 6, ["intra=1", "inter=6"]),
        ({}, {}, 1, ["intra=1", "inter=2"]),
        ({"clients": "few"}, {}, None, []),
        ({"clients": "few"}, {}, 6, ["intra=6", "inter=6"]),
        ({"flags": {"tensorflow_intra_op_parallelism": 3}}, {}, 6, ["intra=3", "inter=6"]),
        ({"flags": {"tensorflow_session_parallelism": 4}}, {}, 6, ["session=4"]),
        ({}, {"docker": {"tag": "2.19.1-gpu"}}, 6, []),
    ],
)
def test_threads_fit_the_number_of_clients_and_cores(
    serving: dict[str, Any], other: dict[str, Any], cores: int | None, threads: list[str]
) -> None:
    flags = tf_serving.server_flags(make_context(serving=serving, **other), cores=cores)
    found = [flag.removeprefix("--tensorflow_").replace("_op_parallelism", "") for flag in flags if "parallelism" in flag]
    assert [flag.replace("_parallelism", "") for flag in found] == threads


@pytest.mark.parametrize(("limit", "inter"), [("4", "4"), ("2500m", "3"), ("", ""), ("1Ki", "")])
def test_a_pods_limit_of_cpu_is_its_number_of_cores(limit: str, inter: str) -> None:
    resources = {"limits": {"cpu": limit}} if limit else {}
    flags = base.pod_flags(make_context(kubernetes={"pod": {"resources": resources}}))
    named = [flag.partition("=")[2] for flag in flags if flag.startswith("--tensorflow_inter_op_parallelism")]
    assert named == [inter] * bool(inter)


def test_rendering_again_removes_only_files_of_disabled_settings(
    context: RenderContext, plain: RenderContext, tmp_path: Path
) -> None:
    tf_serving.render(context, tmp_path)
    (tmp_path / "serving" / "notes.txt").write_text("mine")
    tf_serving.render(plain, tmp_path)
    names = {p.name for p in (tmp_path / "serving").iterdir()}
    assert names == {"models.config", "README.md", "notes.txt"}


def test_without_labels_the_latest_version_is_served_and_checked(plain: RenderContext) -> None:
    assert {model.policy for model in tf_serving.server_config(plain).models} == {Latest()}
    assert tf_serving.served_versions(plain) == {"digits": (3,), "minilm": (4,)}
    assert tf_serving.state_targets(plain) == ("digits", "minilm")


def test_every_named_version_must_be_available() -> None:
    chosen = make_context(serving={"versions": {"digits": [2, 1]}})
    assert tf_serving.served_versions(chosen) == {"digits": (1, 2), "minilm": (4,)}
    assert tf_serving.state_targets(chosen) == ("digits/versions/1", "digits/versions/2", "minilm")


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ({"labels": {"nope": {"stable": 1}}}, "'nope' is not in the bundle"),
        ({"versions": {"nope": [1]}}, "'nope' is not in the bundle"),
        ({"labels": {"digits": {"stable": 9}}}, "no version 9"),
        ({"versions": {"digits": [4]}}, "no version 4"),
        (
            {"versions": {"digits": [3]}, "labels": {"digits": {"stable": 1}}},
            "points to version 1, which is not served",
        ),
    ],
)
def test_settings_that_cannot_be_served_are_explained(
    serving: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=expected) as caught:
        tf_serving.render(make_context(serving=serving), tmp_path)
    assert caught.value.fix
    assert not (tmp_path / "serving").exists()


def test_the_readme_has_the_flags_and_valid_shell_commands(context: RenderContext, tmp_path: Path) -> None:
    tf_serving.render(context, tmp_path)
    text = (tmp_path / "serving" / "README.md").read_text()
    assert "\n".join(tf_serving.server_flags(context)) in text
    assert "| digits | 1, 3 | stable = 1, canary = 3 |" in text
    assert "serialization_as_tensor_content" not in text
    bash = requirements.bash()
    for block in text.split("```sh\n")[1:]:
        subprocess.run([bash, "-n"], input=block.split("```")[0], text=True, check=True)


def test_the_readmes_command_puts_this_machines_paths_into_the_config(
    context: RenderContext, tmp_path: Path
) -> None:
    bash = requirements.bash()
    tf_serving.render(context, tmp_path)
    text = (tmp_path / "serving" / "README.md").read_text()
    command = next(line for line in text.splitlines() if line.startswith("CONFIG="))
    done = subprocess.run(
        [bash, "-c", f'{command} && cat "$CONFIG/models.config" && rm -r "$CONFIG"'],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [model.base_path for model in ModelServerConfig.from_text(done.stdout).models]
    assert paths == [f"{tmp_path}/models/digits", f"{tmp_path}/models/minilm"]
