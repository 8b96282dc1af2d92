"""Parse request targets like libevent 2.1's evhttp_uri_parse, which follows RFC 3986 strictly."""

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
    """A request target without scheme and authority.

    Attributes:
        path: the path, not percent-decoded.
        rest: query and fragment with their `?` and `#`, or empty.
    """

    path: str
    rest: str

    @property
    def text(self) -> str:
        """The path with query and fragment."""
        return self.path + self.rest


def read_target(text: str) -> ModelTarget | None:
    """Parse the target of a request line. Return None if it is not a URI."""
    match = _TARGET.fullmatch(text)
    if match is None:
        return None
    path = match["path"]
    if match["scheme"] is None and ":" in path.partition("/")[0]:
        return None
    if match["authority"] is None and path.startswith("//"):
        return None
    if match["ipv6"] and not _is_ipv6(match["ipv6"]):
        return None
    return ModelTarget(path, match["rest"])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
