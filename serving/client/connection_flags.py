"""The settings of a connection as flags and environment variables, for commands.

`tfbundle` makes typer's options of the texts here, and the smoke test of a bundle, which has no typer, argparse's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from serving.errors import TargetError

if TYPE_CHECKING:
    from serving.client.connection import ConnectionSettings

TOKEN_VARIABLE = "TFBUNDLE_TOKEN"
"""The environment variable that holds a token; no flag does, as every user of a machine sees the flags of its processes."""


@dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
        name: the flag.
        metavar: what its value is called in the help; None for a switch.
        help: one sentence.
        variable: the environment variable that stands for it; an empty string for none.
    """

    name: str
    metavar: str | None
    help: str
    variable: str = ""


CA = Flag("--ca", "FILE", "Certificate authorities to trust, PEM. Default: the system's.", "TFBUNDLE_CA")
CLIENT_CERT = Flag("--client-cert", "FILE", "Certificate to show to the server, PEM.", "TFBUNDLE_CLIENT_CERT")
CLIENT_KEY = Flag("--client-key", "FILE", "Private key of that certificate, PEM.", "TFBUNDLE_CLIENT_KEY")
SERVER_NAME = Flag(
    "--server-name", "NAME", "Name that the server's certificate must have. Default: the host.", "TFBUNDLE_SERVER_NAME"
)
HEADER = Flag("--header", "'NAME: VALUE'", "Header of every request, over gRPC as metadata. Repeatable.")
TOKEN_FILE = Flag("--token-file", "FILE", "File with a bearer token; read again when it changes.", "TFBUNDLE_TOKEN_FILE")
PLAINTEXT = Flag("--send-token-unencrypted", None, "Send tokens to other machines without TLS, too.")
ATTEMPTS = Flag("--attempts", "N", "Times to send a request that no server has executed.")
RETRY_LOST = Flag("--retry-lost", None, "Send a request again, too, if its connection was lost: the model may run twice.")
KEEPALIVE = Flag("--keepalive", "SECONDS", "Test a connection that waits for so long. Servers permit 300 or more by default.")
CONNECTIONS = Flag("--connections", "N", "HTTP/2 connections per client; over REST, the most connections at once.")
COMPRESSION = Flag("--compression", "gzip", "Compress requests.")

FLAGS = (
    CA, CLIENT_CERT, CLIENT_KEY, SERVER_NAME, HEADER, TOKEN_FILE, PLAINTEXT, ATTEMPTS, RETRY_LOST, KEEPALIVE, CONNECTIONS,
    COMPRESSION,
)  # fmt: skip


def settings_from_flags(values: Any, *, attempts: int | None = None) -> ConnectionSettings:
    """Return the settings that a command's flags ask for.

    Args:
        values: an object with one attribute per flag: `ca`, `client_cert`, …; see `FLAGS`.
        attempts: the default of `--attempts` where it is not that of `RetryPolicy`.

    Raises:
        TargetError: a value is wrong, or they contradict each other.
    """
    from serving.client.connection import Channels, ConnectionSettings, Credentials, RetryPolicy, Tls

    chosen = values.attempts if values.attempts is not None else attempts
    token = os.environ.get(TOKEN_VARIABLE) or None
    return ConnectionSettings(
        Tls(values.ca, values.client_cert, values.client_key, values.server_name),
        Credentials(
            _headers(values.header or ()),
            None if values.token_file else token,
            values.token_file,
            values.send_token_unencrypted,
        ),
        RetryPolicy(lost=values.retry_lost) if chosen is None else RetryPolicy(chosen, lost=values.retry_lost),
        Channels(values.connections, values.keepalive, cast("Literal['gzip'] | None", values.compression)),
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser the flags, in a group of their own."""
    group = parser.add_argument_group("connection")
    kinds: dict[Flag, type] = {ATTEMPTS: int, CONNECTIONS: int, KEEPALIVE: float}
    for flag in FLAGS:
        text = f"{flag.help} [{flag.variable}]" if flag.variable else flag.help
        if flag.metavar is None:
            group.add_argument(flag.name, action="store_true", help=text)
        elif flag is HEADER:
            group.add_argument(flag.name, action="append", metavar=flag.metavar, help=text)
        else:
            default = os.environ.get(flag.variable) or None if flag.variable else None
            group.add_argument(flag.name, type=kinds.get(flag, str), metavar=flag.metavar, default=default, help=text)


def _headers(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [text.partition(":") for text in texts]
    for name, colon, _ in pairs:
        if not colon or not name.strip():
            # Without the text: it may be a secret.
            raise TargetError("A --header is not 'NAME: VALUE'.", fix="write e.g. --header 'x-team: vision'", code="TFB7018")
    return [(name.strip(), value.strip()) for name, _, value in pairs]
