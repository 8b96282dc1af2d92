"""Credentials from Docker's configuration, and the answers to a registry's challenges.

oras-py requests tokens and asks credential helpers; `DockerAuth` adds what it lacks: the folder DOCKER_CONFIG, registries that
ask for a password instead of a token (htpasswd), a new token when another scope is needed, and no token or password for a host
that is not the registry's, nor over plain HTTP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oras.auth.token import TokenAuth
from oras.auth.utils import get_basic_auth, parse_auth_header

from bundler.delivery.oci.hosts import credentials_key, is_local
from bundler.errors import DeliveryError, UsageError
from serving.regular_file import read_regular


def config_file() -> Path:
    """Return the path of Docker's configuration, which `docker login` and `oras login` write."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def read_config(path: Path) -> dict[str, Any]:
    """Return the parts of Docker's configuration with credentials, in the form that oras-py keeps them.

    Raises:
        UsageError: the file exists, but cannot be read, or is not Docker's configuration.
    """
    try:
        content = json.loads(read_regular(path).decode("utf-8"))
        auths = {_host(key): _entry(value) for key, value in content.get("auths", {}).items()}
        helpers, store = dict(content.get("credHelpers", {})), content.get("credsStore")
    except (FileNotFoundError, NotADirectoryError):
        return {"auths": {}, "credHelpers": {}, "credsStore": None}
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise UsageError(
            f"Docker's configuration cannot be read: {exc}.",
            where=str(path),
            fix="repair the file, or log in again with `docker login` or `oras login`",
            code="TFB9003",
        ) from exc
    return {"auths": auths, "credHelpers": helpers, "credsStore": store}


def _host(key: str) -> str:
    """Return the key of `auths` as `credentials_key` writes it; some tools write a URL there."""
    return credentials_key(urlsplit(key).netloc if "://" in key else key.split("/")[0])


def _entry(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `auths` with its user and password as `auth`."""
    if not value.get("auth") and value.get("username") and value.get("password"):
        return {**value, "auth": get_basic_auth(value["username"], value["password"])}
    return dict(value)


class DockerAuth(TokenAuth):  # type: ignore[misc]  # oras has no types
    """Answers the challenges of one registry.

    Attributes:
        problem: why there are no credentials although the configuration names some; empty if that did not happen.
    """

    def __init__(self, registry: str, api: str, *, insecure: bool) -> None:
        """Read the configuration.

        Args:
            registry: host of the registry, as the address has it.
            api: host that serves its API.
            insecure: whether the registry is spoken to over plain HTTP.
        """
        super().__init__()
        self.problem = ""
        self._api = api
        self._insecure = insecure
        self._asks_for_password = False
        self._auth_config = read_config(config_file())
        self._load_auth(credentials_key(registry))

    @property
    def has_credentials(self) -> bool:
        """Whether a user and password are known."""
        return bool(getattr(self, "_basic_auth", None))

    def headers_for(self, url: str) -> dict[str, str]:
        """Return the headers that authenticate a request; none for another host than the registry's."""
        if urlsplit(url).netloc != self._api:
            return {}
        if self._asks_for_password:
            return {"Authorization": f"Basic {self._basic_auth}"}
        return dict(self.get_auth_header())

    def answer(self, response: Any) -> bool:
        """Get what a response with the status 401 asks for.

        Returns:
            Whether the request can be repeated with new headers.
        """
        challenge = response.headers.get("Www-Authenticate", "")
        if challenge[:6].lower() == "basic ":
            first_time = not self._asks_for_password
            self._asks_for_password = self.has_credentials
            return first_time and self._asks_for_password
        realm = parse_auth_header(challenge).realm or ""
        self._check_realm(realm)
        return bool(self.authenticate_request(response, {}, refresh=True)[1]) if realm else False

    def _check_realm(self, realm: str) -> None:
        """Raise unless the service that the registry names for tokens may be given a password."""
        url = urlsplit(realm)
        if url.scheme == "http" and not (self._insecure and is_local(url.netloc)):
            raise DeliveryError(
                f"The registry {self._api} asks to send the credentials to {realm} without encryption; they were not sent.",
                fix="let the registry's administrator give the token service a certificate",
                code="TFB9005",
            )

    def _get_auth_from_creds_store(self, suffix: str, hostname: str) -> str | None:
        """Return the credentials that a credential helper has; note what went wrong if it has none."""
        try:
            found: str | None = super()._get_auth_from_creds_store(suffix, hostname)
        except (OSError, ValueError, KeyError) as exc:
            self.problem = f"the credential helper docker-credential-{suffix} failed: {exc!r}"
            return None
        if found is None:
            self.problem = f"the credential helper docker-credential-{suffix} is missing or has no credentials for {hostname}"
        return found
