"""Text proto, the format of tensorflow_model_server's config files: parse, print, and the base of the config values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protocol.messages import pool, serving_message

C = TypeVar("C", bound="ConfigFile")


class ConfigFile(ABC):
    """The content of a config file: a value with a message of TensorFlow Serving behind it.

    Attributes:
        MESSAGE: name of the message in package `tensorflow.serving`.
    """

    MESSAGE: ClassVar[str]

    @abstractmethod
    def to_proto(self) -> Any:
        """Return the value as its message."""

    @classmethod
    @abstractmethod
    def from_proto(cls: type[C], config: Any) -> C:
        """Read the value from its message.

        Raises:
            ConfigError: a field holds a wrong value.
        """

    def to_text(self) -> str:
        """Return the content of the config file."""
        return print_text(self.to_proto())

    @classmethod
    def from_text(cls: type[C], text: str, *, where: str | None = None) -> C:
        """Read the content of a config file.

        Args:
            text: text proto.
            where: path of the file, for error messages.

        Raises:
            ConfigError: the text is not text proto of this message (with line and column), or a value in it is wrong.
        """
        proto = parse_text(cls.MESSAGE, text, where=where)
        try:
            return cls.from_proto(proto)
        except ConfigError as exc:
            raise ConfigError(exc.what, where=where, fix=exc.fix, code=exc.code) from exc


def parse_text(name: str, text: str, *, where: str | None = None) -> Any:
    """Parse text proto as the message `tensorflow.serving.<name>`.

    Args:
        name: name of the message.
        text: text proto.
        where: path of the file, for error messages.

    Raises:
        ConfigError: with the line, the column and the unknown field or wrong value.
    """
    try:
        return text_format.Parse(text, serving_message(name)(), descriptor_pool=pool())
    except (text_format.ParseError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"The text is not a {name}: {exc}",
            where=where,
            fix="compare it with the file of this kind that `tfbundle render DIR` writes into serving/",
            code="TFB6101",
        ) from exc


def print_text(proto: Any) -> str:
    """Return a message as text proto, one field per line; text beyond ASCII stays UTF-8."""
    return text_format.MessageToString(proto, as_utf8=True, descriptor_pool=pool())
