"""A bundle's settings as `serving.launch` takes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.errors import UsageError
from bundler.operations.launch import deployment, docker_settings
from bundler.render import RenderContext, docker
from bundler.render.parts import render_context
from bundler.validation.bundle import Bundle


@pytest.fixture
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


@pytest.fixture
def context(bundle: Bundle) -> RenderContext:
    return render_context(bundle.name, bundle.manifest)


def test_the_deployment_has_the_bundles_ports_unless_others_are_given(bundle: Bundle, context: RenderContext) -> None:
    default = deployment(bundle, context, host="127.0.0.1", grpc_port=None, rest_port=None)
    assert (default.grpc_port, default.rest_port, default.versions) == (8500, 8501, {"mlp": (1,)})
    chosen = deployment(bundle, context, host="127.0.0.1", grpc_port=9000, rest_port=None)
    assert (chosen.grpc_port, chosen.rest_port) == (9000, 8501)


def test_both_ports_cannot_be_the_same(bundle: Bundle, context: RenderContext) -> None:
    with pytest.raises(UsageError, match="cannot both have port 8501") as caught:
        deployment(bundle, context, host="127.0.0.1", grpc_port=8501, rest_port=None)
    assert caught.value.fix == "set --port and --rest-port to different ports"


def test_the_container_runs_as_the_current_user_but_never_as_root(
    context: RenderContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getgid", lambda: 100)
    users = []
    for uid in (1000, 0):
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        users.append(docker_settings(context, image=None, user=None, memory="1g", cpus="1").user)
    assert users == ["1000:100", docker.USER]


def test_the_image_is_the_bundles_unless_another_is_given(context: RenderContext) -> None:
    assert docker_settings(context, image=None, user=None, memory="1g", cpus="1").image == "tensorflow/serving:2.19.1"
    assert docker_settings(context, image="mine:1", user=None, memory="1g", cpus="1").image == "mine:1"
