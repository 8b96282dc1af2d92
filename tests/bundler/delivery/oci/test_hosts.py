from __future__ import annotations

import pytest

from bundler.delivery.oci.hosts import api_host, check_insecure, credentials_key, is_local
from bundler.errors import UsageError


def test_docker_hub_has_another_host_and_key() -> None:
    assert api_host("docker.io") == "registry-1.docker.io" and api_host("ghcr.io") == "ghcr.io"
    assert credentials_key("docker.io") == "https://index.docker.io/v1/" and credentials_key("ghcr.io:443") == "ghcr.io:443"


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost"])
def test_this_machine_may_be_spoken_to_without_encryption(host: str) -> None:
    check_insecure(host)


@pytest.mark.parametrize("host", ["ghcr.io", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.nip.io", "[::2]"])
def test_other_machines_may_not(host: str) -> None:
    assert not is_local(host)
    with pytest.raises(UsageError, match="--insecure is for registries on this machine") as caught:
        check_insecure(host)
    assert caught.value.code == "TFB9002"
