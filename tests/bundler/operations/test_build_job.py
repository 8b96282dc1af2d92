"""tfbundle build-job: what it refuses, and that it only overwrites what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundler.render.files import read_yaml
from tests.bundler.cli.commands import run
from tests.bundler.delivery.stores.buckets import Bucket, s3_server
from tests.bundler.many import toys

SECTION = {"image": "registry.example.com/builder:1", "meet": "s3://bucket/builds", "output": "s3://bucket/digits", "shards": 2}


def spec_file(folder: Path, section: dict[str, Any]) -> Path:
    models = [{"name": name, "source": "model.py:make"} for name in ("a", "b")]
    file = folder / "bundle.yaml"
    file.write_text(json.dumps({"models": models, "kubernetes": {"build_job": section}}))
    return file


def test_the_manifests_of_a_run_are_written_again_for_the_next(tmp_path: Path) -> None:
    file, folder = spec_file(tmp_path, SECTION), tmp_path / "job"
    written = json.loads(run("build-job", file, "-o", folder, "--run", "17", "--json").stdout)
    assert written == {"run": "17", "folder": str(folder), "shards": "s3://bucket/builds/17"}
    result = run("build-job", file, "-o", folder)
    assert f"Next: kubectl apply -k {folder}" in result.stdout
    assert "digits-build-17" not in (folder / "build.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None, "output": None}, "lacks image and output"),
        ({"shards": 3}, "set shards: 2 or fewer"),
        ({"meet": "bucket/builds"}, "s3://bucket/builds or oci://registry.example.com/builds"),
        ({"meet": "https://bucket/builds"}, "pods cannot write to 'https://bucket/builds'"),
        ({"meet": "oci://registry.example.com/builds:1"}, "leave the tag out"),
        ({"output": "oci://registry.example.com/digits"}, "push it from there"),
        ({"parallelism": 3}, "more than there are shards"),
        ({"pod": {"volumes": [{"name": "cache", "emptyDir": {}}]}}, "e.g. my-cache"),
        ({"pod": {"service_account_annotations": {"a": "b"}}}, "name one in pod.service_account"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    result = run("build-job", spec_file(tmp_path, {**SECTION, **changes}), "-o", tmp_path / "job", code=2)
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "job").exists()


def test_a_name_that_no_object_can_have_is_refused(tmp_path: Path) -> None:
    assert "e.g. --run build-17" in run("build-job", spec_file(tmp_path, SECTION), "--run", "Über", code=2).stderr


def test_a_file_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text("kind: Job\n")
    result = run("build-job", spec_file(tmp_path, SECTION), "-o", tmp_path, code=2)
    assert "tfbundle did not write it" in result.stderr
    assert not (tmp_path / "merge.yaml").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in run("build-job", spec_file(tmp_path, SECTION), "-o", tmp_path / "file" / "job", code=1).stderr


def container(folder: Path, job: str) -> Any:
    return read_yaml((folder / f"{job}.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]


def run_container(container: Any, sources: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command of a container as its pod would, in its working directory and with its variables."""
    assert container["command"][0] == "tfbundle"
    monkeypatch.chdir(sources)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    run(*container["command"][1:], *container["args"], code=code)


def test_the_commands_of_the_pods_build_shards_that_meet_in_a_bucket_and_become_a_bundle(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = toys.ToyEngine(small_bundle)
    monkeypatch.setattr("bundler.operations.many.ManyOptions.engine", lambda options: engine)
    monkeypatch.setenv("TFBUNDLE_CACHE_DIR", str(tmp_path / "cache"))
    names = ("a", "b", "fails")
    models = [{"name": name, "source": f"{name}.onnx"} for name in names]
    for index, name in enumerate(names):
        toys.unit(index, name, tmp_path)
    with s3_server() as client:
        bucket = Bucket(client)
        for name, value in {"ENDPOINT_URL_S3": client.meta.endpoint_url, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x",
                            "DEFAULT_REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}.items():  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        section = {**SECTION, "meet": f"s3://{bucket.name}/builds", "output": f"s3://{bucket.name}/digits"}
        file = tmp_path / "bundle.yaml"
        file.write_text(json.dumps({"models": models, "kubernetes": {"build_job": section}}))
        run("build-job", file, "-o", tmp_path / "job", "--run", "17")
        build, merge = (container(tmp_path / "job", name) for name in ("build", "merge"))
        assert "JOB_COMPLETION_INDEX, which is" in run(*build["command"][1:], file, *build["args"][1:], code=2).stderr
        for number, code in (("0", 3), ("1", 0)):  # the first has `a` and the model that fails
            monkeypatch.setenv("JOB_COMPLETION_INDEX", number)
            run_container(build, tmp_path, code, monkeypatch)
        assert engine.built == ["a", "fails", "b"]
        shards = {"/".join(key.split("/")[:3]) for key in bucket.objects()}
        assert shards == {f"builds/17/shard-{number}-of-2" for number in (1, 2)}
        run_container(merge, tmp_path, 3, monkeypatch)
        assert json.loads(bucket.read("digits/bundle.json"))["models"].keys() == {"a", "b"}
