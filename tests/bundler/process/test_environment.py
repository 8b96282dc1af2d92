"""Facts about a build name packages and the CI job, and never a secret."""

from __future__ import annotations

from importlib.metadata import version

from bundler.process import environment
from bundler.process.environment import ci_build, loaded_packages, without_passwords

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/models",
    "GITHUB_WORKFLOW_REF": "acme/models/.github/workflows/build.yml@refs/heads/main",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": "d" * 40,
    "RUNNER_ENVIRONMENT": "github-hosted",
    "GITHUB_TOKEN": "ghs_secret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_URL": "https://gitlab.com/acme/models",
    "CI_RUNNER_ID": "12",
    "CI_JOB_URL": "https://gitlab.com/acme/models/-/jobs/3",
    "CI_COMMIT_REF_NAME": "main",
    "CI_COMMIT_SHA": "e" * 40,
    "CI_REPOSITORY_URL": "https://gitlab-ci-token:secret@gitlab.com/acme/models.git",
    "CI_JOB_TOKEN": "secret",
}


def test_packages_are_those_of_loaded_modules() -> None:
    import numpy  # noqa: F401

    packages = loaded_packages(("PyYAML_of_nobody", "tfbundle"))
    assert packages["numpy"] == version("numpy")
    assert packages["pytest"] == version("pytest")
    assert packages["tfbundle"] == version("tfbundle")
    assert not [name for name in packages if name != name.lower() or "_" in name or "nobody" in name]


def test_package_of_a_shared_namespace_is_listed_only_if_its_part_is_loaded() -> None:
    import google.protobuf  # noqa: F401

    assert "protobuf" in loaded_packages()


def test_github_run_is_named_by_workflow_run_and_commit() -> None:
    assert ci_build(GITHUB) == {
        "id": "https://github.com/acme/models/.github/workflows/build.yml@refs/heads/main",
        "invocation": "https://github.com/acme/models/actions/runs/7/attempts/2",
        "repository": "https://github.com/acme/models",
        "ref": "refs/heads/main",
        "commit": "d" * 40,
        "runner": "github-hosted",
    }


def test_gitlab_job_is_named_by_runner_job_and_commit() -> None:
    assert ci_build(GITLAB) == {
        "id": "https://gitlab.com/acme/models/-/runners/12",
        "invocation": "https://gitlab.com/acme/models/-/jobs/3",
        "repository": "https://gitlab.com/acme/models",
        "ref": "main",
        "commit": "e" * 40,
    }


def test_build_outside_a_known_ci_has_no_builder() -> None:
    assert ci_build({}) is None
    assert ci_build({"CI": "true", "BUILD_URL": "https://jenkins/job/1"}) is None
    assert ci_build({"GITHUB_ACTIONS": "true"}) is None


def test_values_of_another_form_are_left_out() -> None:
    odd = {"GITHUB_SHA": "main", "GITHUB_RUN_ID": "7?token=secret", "GITHUB_REF": "x\ny", "GITHUB_WORKFLOW_REF": "no reference"}
    assert ci_build({**GITHUB, **odd, "RUNNER_ENVIRONMENT": ""}) == {
        "id": "https://github.com/acme/models",
        "repository": "https://github.com/acme/models",
    }
    assert ci_build({**GITLAB, "CI_PROJECT_URL": "https://user:secret@gitlab.com/acme/models"}) is None
    assert "invocation" not in (ci_build({**GITLAB, "CI_JOB_URL": "https://gitlab.com/x?private_token=secret"}) or {})


def test_urls_lose_their_passwords() -> None:
    data = {"source": "https://me:secret@host/model.onnx", "list": ["s3://key@bucket/x", 1], "plain": "a@b, https://host/x@1"}
    assert without_passwords(data) == {
        "source": "https://host/model.onnx", "list": ["s3://bucket/x", 1], "plain": "a@b, https://host/x@1",
    }  # fmt: skip


def test_required_packages_are_listed_with_what_they_require() -> None:
    found = environment.required_packages(["onnx"])
    assert {"onnx", "numpy", "protobuf"} <= set(found) and not {"pytest", "torch"} & set(found)
    assert found["numpy"] == version("numpy")
    assert environment.required_packages(["No.Such_Package"]) == {}


def test_requirements_of_extras_are_left_out() -> None:
    assert "tensorflow" not in environment.required_packages(["tfbundle"])


def test_modules_belong_to_packages() -> None:
    found = environment.packages_of_modules(["numpy", "json", "yaml_that_nobody_has"])
    assert found == {"numpy": version("numpy")}
