"""The check of the build side that the packages of an extra are installed (`serving.extras`)."""

from __future__ import annotations

from bundler.errors import MissingExtraError
from serving import extras


def require(extra: str, purpose: str, *, otherwise: str | None = None) -> None:
    """Raise if a package of an extra is not installed.

    Args:
        extra: the extra.
        purpose: the feature that needs it, as the subject of the message.
        otherwise: what the user can do instead of installing it.

    Raises:
        MissingExtraError: a package is not installed; the message has the command that installs it.
    """
    names = extras.missing(extra)
    if names:
        command = extras.install_command(extra) + (f", or {otherwise}" if otherwise else "")
        raise MissingExtraError(", ".join(names), extra, purpose=purpose, command=command)


def explained(exc: ImportError, purpose: str) -> MissingExtraError | None:
    """Return the error that names the extra of a package that could not be imported; None if no extra has the package.

    Args:
        exc: the failed import.
        purpose: what imported it, as the subject of the message.
    """
    owner = extras.owner(exc.name or "")
    return MissingExtraError(owner.package, owner.extra, purpose=purpose) if owner else None
