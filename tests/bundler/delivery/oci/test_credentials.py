from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundler.delivery.oci.credentials import DockerAuth, config_file
from bundler.errors import DeliveryError, UsageError


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write(config: Any) -> None:
    path = config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config), "utf-8")


def basic(registry: str) -> str | None:
    """Return the user and password that are sent to a registry that asks for them."""
    answers = DockerAuth(registry, registry, insecure=False)
    if not answers.answer(challenge('Basic realm="models"')):
        return None
    header = answers.headers_for(f"https://{registry}/v2/")["Authorization"]
    return base64.b64decode(header.removeprefix("Basic ")).decode()


def challenge(text: str) -> Any:
    return SimpleNamespace(headers={"Www-Authenticate": text})


def test_credentials_are_found_by_host(tmp_path: Path) -> None:
    assert basic("ghcr.io") is None
    write(
        {
            "auths": {
                "ghcr.io": {"auth": auth("anna:1")},
                "https://quay.io/v2/": {"username": "anna", "password": "2"},
                "https://index.docker.io/v1/": {"auth": auth("anna:3")},
                "localhost:5000": {},
            }
        }
    )
    assert [basic(host) for host in ("ghcr.io", "quay.io", "docker.io")] == ["anna:1", "anna:2", "anna:3"]
    assert basic("localhost:5000") is None and basic("other.io") is None


def test_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-safe"
    helper.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "%s", "Secret": "s"}\' "$host"\n', "utf-8")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write({"auths": {"ghcr.io": {}}, "credHelpers": {"quay.io": "safe"}, "credsStore": "safe"})
    assert basic("quay.io") == "quay.io:s" and basic("ghcr.io") == "ghcr.io:s"
    write({"credHelpers": {"quay.io": "absent"}})
    answers = DockerAuth("quay.io", "quay.io", insecure=False)
    assert not answers.has_credentials and "docker-credential-absent" in answers.problem
    helper.write_text("#!/bin/sh\necho no JSON\n", "utf-8")
    write({"credHelpers": {"quay.io": "safe"}})
    assert "docker-credential-safe failed" in DockerAuth("quay.io", "quay.io", insecure=False).problem


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": [1]}', '{"auths": {"a": 1}}', "\x00"])
def test_damaged_configuration_is_told(content: str) -> None:
    write(content)
    with pytest.raises(UsageError, match="Docker's configuration cannot be read") as caught:
        DockerAuth("ghcr.io", "ghcr.io", insecure=False)
    assert caught.value.code == "TFB9003" and caught.value.where == str(config_file())


def test_credentials_are_sent_to_the_registry_alone() -> None:
    write({"auths": {"ghcr.io": {"auth": auth("anna:1")}}})
    answers = DockerAuth("ghcr.io", "ghcr.io", insecure=False)
    assert answers.answer(challenge('Basic realm="x"'))
    assert answers.headers_for("https://cdn.ghcr.io/blob") == {} and answers.headers_for("https://ghcr.io/v2/")
    assert not answers.answer(challenge('Basic realm="x"'))  # the same password once more would not help


def test_password_is_not_sent_for_a_token_without_encryption() -> None:
    answers = DockerAuth("ghcr.io", "ghcr.io", insecure=False)
    with pytest.raises(DeliveryError, match="without encryption") as caught:
        answers.answer(challenge('Bearer realm="http://auth.ghcr.io/token",service="ghcr.io"'))
    assert caught.value.code == "TFB9005"
    assert not answers.answer(challenge("Negotiate"))
