"""The flags of a connection are those of every command that talks to a server, and of the smoke test of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from serving import Channels, ConnectionSettings, Credentials, RetryPolicy, TargetError, Tls
from serving.client.connection_flags import FLAGS, add_flags, settings_from_flags
from tests.bundler.cli.commands import run

EVERY = (
    "--ca", "a.pem", "--client-cert", "c.pem", "--client-key", "k.pem", "--server-name", "n", "--header", "x-a:1", "--header",
    "x-b:2", "--token-file", "t", "--send-token-unencrypted", "--attempts", "5", "--retry-lost", "--keepalive", "300",
    "--connections", "4", "--compression", "gzip",
)  # fmt: skip
SETTINGS = ConnectionSettings(
    Tls("a.pem", "c.pem", "k.pem", "n"),
    Credentials({"x-a": "1", "x-b": "2"}, None, "t", allow_plaintext=True),
    RetryPolicy(5, lost=True),
    Channels(4, 300.0, "gzip"),
)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(arguments)


def test_flags_become_settings() -> None:
    assert {flag.name for flag in FLAGS} <= set(EVERY)
    assert settings_from_flags(parsed(*EVERY)) == SETTINGS
    assert settings_from_flags(parsed()) == ConnectionSettings()
    assert settings_from_flags(parsed(), attempts=1) == ConnectionSettings().single_tries()
    assert settings_from_flags(parsed("--attempts", "2"), attempts=1).retry.attempts == 2


def test_the_environment_stands_for_flags_and_holds_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFBUNDLE_CA", "other.pem")
    monkeypatch.setenv("TFBUNDLE_TOKEN", "abc")
    settings = settings_from_flags(parsed())
    assert (settings.tls.ca, settings.credentials.token) == ("other.pem", "abc")
    assert settings_from_flags(parsed("--token-file", "t")).credentials.token is None


def test_a_header_without_a_colon_is_not_shown() -> None:
    with pytest.raises(TargetError, match="is not 'NAME: VALUE'") as caught:
        settings_from_flags(parsed("--header", "s3cret"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("command", ["smoke", "bench", "promote", "shadow"])
def test_every_command_that_talks_to_a_server_has_the_flags(command: str) -> None:
    text = run(command, "--help").stdout
    assert all(flag.name in text for flag in FLAGS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("smoke", "grpcs://localhost:1", "--bundle", "none"),
        ("bench", "grpcs://localhost:1", "--replay", "none"),
        ("shadow", "grpcs://localhost:1", "--requests", "none", "--versions", "1", "2"),
    ],
)
def test_a_command_tells_what_is_wrong_with_its_flags(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--client-cert", "c.pem", code=2)
    assert "TFB7018" in result.stderr
