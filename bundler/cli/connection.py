"""The options that say how a command connects to a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.client import connection_flags as flags

if TYPE_CHECKING:
    from serving.client.connection import ConnectionSettings

PANEL = "Connection"


def _option(flag: flags.Flag, **more: Any) -> Any:
    """Return typer's option of a flag."""
    return typer.Option(
        flag.name,
        metavar=flag.metavar,
        help=flag.help,
        envvar=flag.variable or None,
        rich_help_panel=PANEL,
        show_default=False,
        **more,
    )


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Parameters of a command that talks to a server; its dataclass of options derives from this one."""

    ca: Annotated[Path | None, _option(flags.CA)] = None
    client_cert: Annotated[Path | None, _option(flags.CLIENT_CERT)] = None
    client_key: Annotated[Path | None, _option(flags.CLIENT_KEY)] = None
    server_name: Annotated[str | None, _option(flags.SERVER_NAME)] = None
    header: Annotated[list[str] | None, _option(flags.HEADER)] = None
    token_file: Annotated[Path | None, _option(flags.TOKEN_FILE)] = None
    send_token_unencrypted: Annotated[bool, _option(flags.PLAINTEXT)] = False
    attempts: Annotated[int | None, _option(flags.ATTEMPTS, min=1, max=100)] = None
    retry_lost: Annotated[bool, _option(flags.RETRY_LOST)] = False
    keepalive: Annotated[float | None, _option(flags.KEEPALIVE, min=10.0)] = None
    connections: Annotated[int | None, _option(flags.CONNECTIONS, min=1)] = None
    compression: Annotated[str | None, _option(flags.COMPRESSION)] = None

    def connection(self, *, attempts: int | None = None) -> ConnectionSettings:
        """Return the settings that the options ask for.

        Args:
            attempts: how often a request is sent by default; None for what clients do by default.

        Raises:
            TargetError: a value is wrong, or they contradict each other.
        """
        return flags.settings_from_flags(self, attempts=attempts)
