"""Request targets, read as libevent 2.1's evhttp_uri_parse does: RFC 3986 to the letter."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_NAME = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_TARGET = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:)?"
    rf"(?P<authority>//(?:(?:{_NAME}|:)*@)?(?:\[(?:[vV][0-9A-Fa-f]+\.(?:{_NAME}|:)+|(?P<ipv6>[0-9A-Fa-f:.]+))\]|{_NAME}*)(?::[0-9]*)?(?=[/?#]|$))?"
    rf"(?P<path>{_CHAR}*)(?P<rest>(?:\?(?:{_CHAR}|\?)*)?(?:\#(?:{_CHAR}|\?)*)?)",
    re.ASCII,
)


class ModelTarget(NamedTuple):
    """Where a request goes, without a scheme and an authority.

    Attributes:
        path: not decoded.
        rest: the query and the fragment with their `?` and `#`, or empty.
    """

    path: str
    rest: str

    @property
    def text(self) -> str:
        return self.path + self.rest


def read_target(text: str) -> ModelTarget | None:
    """The target of a request line; None if it is no URI."""
    found = _TARGET.fullmatch(text)
    if found is None:
        return None
    path = found["path"]
    if found["scheme"] is None and ":" in path.partition("/")[0]:
        return None
    if found["authority"] is None and path.startswith("//"):
        return None
    if found["ipv6"] and not _is_ipv6(found["ipv6"]):
        return None
    return ModelTarget(path, found["rest"])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
