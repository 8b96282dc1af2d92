"""The output of --help and --version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from serving.server.config.flags import FLAGS, OWN, UNSUPPORTED
from serving.server.config.options import ServerOptions

_TENSORFLOW = ("tensorflow", "tensorflow-cpu")
"""Distributions whose version is TensorFlow's; reading it needs no import of TensorFlow."""


def usage(command: str) -> str:
    """Return the text of --help: every flag with its default and a remark.

    Args:
        command: the command that starts the server.
    """
    lines = [f"usage: {command} --model_base_path=FOLDER [--FLAG=VALUE]...", "Flags:"]
    lines += [f"  {flag:<55} {remark}".rstrip() for flag, remark in _flags()]
    lines.append("Flags of tensorflow_model_server that are refused:")
    lines += [f"  {'--' + name:<55} {instead}" for name, instead in sorted(UNSUPPORTED.items())]
    return "\n".join(lines)


def _flags() -> Iterator[tuple[str, str]]:
    options = ServerOptions()
    for name, flag in FLAGS.items():
        if flag.option is None:
            yield f"--{name}", f"no effect: {flag.why}"
        else:
            yield f"--{name}={flag.default_text(options)}", f"not in tensorflow_model_server: {OWN[name]}" if name in OWN else ""
    yield "--version", "print the versions of this server and of TensorFlow"
    yield "--help", "print this help"


def asks_version(arguments: Sequence[str]) -> bool:
    """Return whether a command line has --version; its other flags, even unknown ones, are then ignored."""
    return not {"--version", "--version=true", "--version=1"}.isdisjoint(argument.lower() for argument in arguments)


def versions() -> str:
    """Return the text of --version: the real server's two lines (model_servers/main.cc), with this server's name."""
    return f"TensorFlow ModelServer: tfbundle {_installed('tfbundle') or 'not installed'}\nTensorFlow Library: {_tensorflow()}"


def _tensorflow() -> str:
    for distribution in _TENSORFLOW:
        if number := _installed(distribution):
            return number
    import tensorflow as tf

    return str(tf.__version__)


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
