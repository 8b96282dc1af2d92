"""What a command line may ask for in place of a server: its flags (--help) and its versions (--version)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from serving.server.flags import FLAGS, OWN, UNSUPPORTED
from serving.server.options import ServerOptions

_TENSORFLOW = ("tensorflow", "tensorflow-cpu")
"""Distributions whose version is TensorFlow's, without an import of it."""


def usage(command: str) -> str:
    """Every flag with its default, and what is to be said of it.

    Args:
        command: how the server is started.
    """
    lines = [f"usage: {command} --model_base_path=FOLDER [--FLAG=VALUE]...", "Flags:"]
    lines += [f"  {name:<55} {said}".rstrip() for name, said in _flags()]
    lines.append("Flags of tensorflow_model_server that are refused:")
    lines += [f"  {'--' + name:<55} {instead}" for name, instead in sorted(UNSUPPORTED.items())]
    return "\n".join(lines)


def _flags() -> Iterator[tuple[str, str]]:
    options = ServerOptions()
    for name, flag in FLAGS.items():
        if flag.option is None:
            yield f"--{name}", f"no effect: {flag.why}"
        else:
            said = "of this server alone" if name in OWN else ""
            yield f"--{name}={flag.default_text(options)}", said
    yield "--version", "prints the versions of this server and of TensorFlow"
    yield "--help", "prints this"


def asks_version(arguments: Sequence[str]) -> bool:
    """Whether a command line has --version; other flags, unknown ones too, then go unread."""
    return not {"--version", "--version=true", "--version=1"}.isdisjoint(argument.lower() for argument in arguments)


def versions() -> str:
    """The two lines of the real server (model_servers/main.cc), with this one's own name."""
    return f"TensorFlow ModelServer: tfbundle {_installed('tfbundle') or 'not installed'}\nTensorFlow Library: {_tensorflow()}"


def _tensorflow() -> str:
    found = next((number for name in _TENSORFLOW if (number := _installed(name))), None)
    if found is None:
        import tensorflow as tf

        return str(tf.__version__)
    return found


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
