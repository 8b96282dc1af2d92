"""The settings of a connection: what is wrong is told when they are made, and nothing secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serving import Channels, Client, ConnectionSettings, Credentials, RetryPolicy, TargetError, Tls
from serving.client.connection import settings_of
from serving.client.transport import Target


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tls(certificate="c.pem"), "certificate is given without the key"),
        (lambda: Tls(key="k.pem"), "key is given without the certificate"),
        (lambda: Tls(server_name="a b"), "is not a name of a server"),
        (lambda: Credentials({"a b": "x"}), "is not a valid name"),
        (lambda: Credentials({"content-type": "x"}), "is set by gRPC and HTTP themselves"),
        (lambda: Credentials({"trace-bin": "x"}), "is set by gRPC and HTTP themselves"),
        (lambda: Credentials({"x-a": "line\nbreak"}), "has characters that a header cannot carry"),
        (lambda: Credentials([("x-a", 5)]), "is not a pair"),  # type: ignore[list-item]
        (lambda: Credentials(token="a", token_file="f"), "more than one token"),
        (lambda: Credentials({"authorization": "Basic x"}, token="a"), "more than one token"),
        (lambda: Credentials(token=" "), "is empty"),
        (lambda: Credentials(token="a\nb"), "is not a token"),
        (lambda: RetryPolicy(attempts=0), "attempts is not between 1 and 100"),
        (lambda: RetryPolicy(first_pause=-1), "first_pause"),
        (lambda: RetryPolicy(lost="no"), "lost is neither True nor False"),  # type: ignore[arg-type]
        (lambda: Channels(connections=0), "connections is not between"),
        (lambda: Channels(keepalive=1), "which servers take for an attack"),
        (lambda: Channels(compression="zstd"), "compression is not one of: gzip"),  # type: ignore[arg-type]
        (lambda: ConnectionSettings(tls="ca.pem"), "The setting tls is a Tls, not a 'str'"),  # type: ignore[arg-type]
        (lambda: settings_of(Tls(), None), "is not a ConnectionSettings"),
        (lambda: settings_of(ConnectionSettings(tls=Tls(ca="a")), b"pem"), "both name an authority"),
    ],
)
def test_a_wrong_setting_is_named(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(TargetError) as caught:
        make()
    assert words in caught.value.what and caught.value.fix and caught.value.code in ("TFB7009", "TFB7018")


def test_settings_show_no_secret() -> None:
    settings = ConnectionSettings(credentials=Credentials({"x-api-key": "s3cret"}, token="s3cret"))
    assert "s3cret" not in repr(settings) and "s3cret" not in str(settings)


@pytest.mark.parametrize(
    ("target", "tls", "words"),
    [
        ("localhost:1", Tls(server_name="a"), "is not encrypted"),
        ("http://localhost:1", Tls(certificate="c", key="k"), "is not encrypted"),
        ("grpcs://10.0.0.1:1,10.0.0.2:1", Tls(), "checked for one name, and none is given"),
    ],
)
def test_settings_of_tls_that_do_not_fit_the_target_are_named(target: str, tls: Tls, words: str) -> None:
    with pytest.raises(TargetError) as caught:
        Client(target, connection=ConnectionSettings(tls=tls))
    assert words in caught.value.what and caught.value.code == "TFB7018"


def test_another_port_without_tls_gets_the_other_settings() -> None:
    settings = ConnectionSettings(Tls(server_name="a"), Credentials(token="t"))
    assert settings.for_target(Target.parse("https://h:1")) is settings
    assert settings.for_target(Target.parse("http://h:1")) == ConnectionSettings(credentials=settings.credentials)
    assert settings.single_tries().retry.attempts == 1
